// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-refine-dimensions,canonicalize)' | FileCheck %s

#bias = affine_map<(d0, d1) -> (d1)>
#id = affine_map<(d0, d1) -> (d0, d1)>

// A bias of q, k and v gets a dimension of 3; the momentum and the update that belong to it follow.

// CHECK-LABEL: func.func @fused
// CHECK-SAME: %[[B:.*]]: tensor<3x4xf32> {jogak.logical_shape = array<i64: 12>, jogak.name = "b", jogak.role = "parameter"}
// CHECK-SAME: %[[M:.*]]: tensor<3x4xf32> {jogak.logical_shape = array<i64: 12>, jogak.name = "m", jogak.role = "optimizer_state"}
// CHECK-SAME: %[[X:.*]]: tensor<2x12xf32> {jogak.name = "x", jogak.role = "input"}
// CHECK-SAME: tensor<3x4xf32> {jogak.updates = 0 : i64}
// CHECK: tensor.expand_shape %[[X]] {{.*}} output_shape [2, 3, 4]
// CHECK: tensor.extract_slice %{{.*}}[0, 0, 0] [2, 1, 4] [1, 1, 1] : tensor<2x3x4xf32> to tensor<2x4xf32>
// CHECK: tensor.extract_slice %{{.*}}[0, 2, 0] [2, 1, 4] [1, 1, 1] : tensor<2x3x4xf32> to tensor<2x4xf32>
func.func @fused(
    %b: tensor<12xf32> {jogak.name = "b", jogak.role = "parameter"},
    %m: tensor<12xf32> {jogak.name = "m", jogak.role = "optimizer_state"},
    %x: tensor<2x12xf32> {jogak.name = "x", jogak.role = "input"})
    -> (tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<12xf32> {jogak.updates = 0 : i64}) {
  %e = tensor.empty() : tensor<2x12xf32>
  %y = linalg.generic {indexing_maps = [#id, #bias, #id], iterator_types = ["parallel", "parallel"]} ins(%x, %b : tensor<2x12xf32>, tensor<12xf32>) outs(%e : tensor<2x12xf32>) {
  ^bb0(%in: f32, %in2: f32, %out: f32):
    %0 = arith.addf %in, %in2 : f32
    linalg.yield %0 : f32
  } -> tensor<2x12xf32>
  %q = tensor.extract_slice %y[0, 0] [2, 4] [1, 1] : tensor<2x12xf32> to tensor<2x4xf32>
  %k = tensor.extract_slice %y[0, 4] [2, 4] [1, 1] : tensor<2x12xf32> to tensor<2x4xf32>
  %v = tensor.extract_slice %y[0, 8] [2, 4] [1, 1] : tensor<2x12xf32> to tensor<2x4xf32>
  %u = tensor.empty() : tensor<12xf32>
  %new = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%b, %m : tensor<12xf32>, tensor<12xf32>) outs(%u : tensor<12xf32>) {
  ^bb0(%in: f32, %in2: f32, %out: f32):
    %0 = arith.subf %in, %in2 : f32
    linalg.yield %0 : f32
  } -> tensor<12xf32>
  return %q, %k, %v, %new : tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<12xf32>
}

// -----

// A weight of which slices return what shows no heads, but three of them behind a reshape: the pieces have nothing in
// common.

// CHECK-LABEL: func.func @uneven
// CHECK-SAME: tensor<10x2xf32> {jogak.name = "qkv", jogak.role = "parameter"}
func.func @uneven(%w: tensor<10x2xf32> {jogak.name = "qkv", jogak.role = "parameter"}) -> (tensor<3x2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>) {
  // expected-remark @below {{'qkv' is taken apart into unequal pieces (6, 2, 2) and keeps its shape}}
  %q = tensor.extract_slice %w[0, 0] [6, 2] [1, 1] : tensor<10x2xf32> to tensor<6x2xf32>
  %k = tensor.extract_slice %w[6, 0] [2, 2] [1, 1] : tensor<10x2xf32> to tensor<2x2xf32>
  %v = tensor.extract_slice %w[8, 0] [2, 2] [1, 1] : tensor<10x2xf32> to tensor<2x2xf32>
  %heads = tensor.expand_shape %q [[0, 1], [2]] output_shape [3, 2, 2] : tensor<6x2xf32> into tensor<3x2x2xf32>
  return %heads, %k, %v : tensor<3x2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>
}

// -----

// An input keeps its shape.

// CHECK-LABEL: func.func @input
// CHECK-SAME: tensor<8x2xf32> {jogak.name = "x", jogak.role = "input"}
func.func @input(%x: tensor<8x2xf32> {jogak.name = "x", jogak.role = "input"}) -> (tensor<4x2xf32>, tensor<4x2xf32>) {
  %a = tensor.extract_slice %x[0, 0] [4, 2] [1, 1] : tensor<8x2xf32> to tensor<4x2xf32>
  %b = tensor.extract_slice %x[4, 0] [4, 2] [1, 1] : tensor<8x2xf32> to tensor<4x2xf32>
  return %a, %b : tensor<4x2xf32>, tensor<4x2xf32>
}
