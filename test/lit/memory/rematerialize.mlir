// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-rematerialize{memory=3200},canonicalize,cse)' --verify-diagnostics | FileCheck %s

// %a is 1 KiB and needed twice, far apart: it is made again, and CSE does not undo it.

// CHECK-LABEL: func.func @again
// CHECK: tensor.concat dim(0) %[[X:.*]], %[[X]] {jogak.offset = array<i64: {{[0-9]+}}>} :
// CHECK: tensor.concat dim(0) %[[X]], %[[X]] {jogak.offset = array<i64: {{[0-9]+}}>, jogak.recompute = 0 : i64, jogak.recompute_of = "tensor.concat at {{.*}}"}
func.func @again(%x: tensor<16x8xf32>) -> tensor<1x1xf32> {
  // expected-remark @+1 {{this and more, 1 in all, computed again to fit 3200 bytes; no two layers share a plan}}
  %a = tensor.concat dim(0) %x, %x : (tensor<16x8xf32>, tensor<16x8xf32>) -> tensor<32x8xf32>
  %s = tensor.extract_slice %a[0, 3] [32, 1] [1, 1] : tensor<32x8xf32> to tensor<32x1xf32>
  %b = tensor.concat dim(1) %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
    : (tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<32x16xf32>
  %t = tensor.extract_slice %b[0, 3] [8, 1] [1, 1] : tensor<32x16xf32> to tensor<8x1xf32>
  %i = tensor.insert_slice %t into %a[0, 0] [8, 1] [1, 1] : tensor<8x1xf32> into tensor<32x8xf32>
  %r = tensor.extract_slice %i[0, 0] [1, 1] [1, 1] : tensor<32x8xf32> to tensor<1x1xf32>
  return %r : tensor<1x1xf32>
}

// -----

// It fits: nothing changes, but that the offsets which prove it are written.

// CHECK-LABEL: func.func @fits
// CHECK-SAME: jogak.arena = 128 : i64
// CHECK-NOT: jogak.recompute_of
func.func @fits(%x: tensor<4xf32>) -> tensor<8xf32> {
  %a = tensor.concat dim(0) %x, %x : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  return %a : tensor<8xf32>
}

// -----

// expected-note @+1 {{2048 bytes (33%): 1 arguments}}
func.func @too_large(%x: tensor<512xf32>) -> tensor<1024xf32> {
  // expected-note @+2 {{4096 bytes (67%): tensor<1024xf32>, made by tensor.concat}}
  // expected-error @+1 {{the program does not fit 3200 bytes a device: the lowest plan that was found needs 6144 bytes here; no order and no recomputation needs less than 6144 bytes}}
  %a = tensor.concat dim(0) %x, %x : (tensor<512xf32>, tensor<512xf32>) -> tensor<1024xf32>
  return %a : tensor<1024xf32>
}
