// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-plan-memory)' | FileCheck %s

// The argument is 64 bytes, the result is written behind it; the elementwise op writes over its dying operand.

// CHECK-LABEL: func.func @chain
// CHECK-SAME: %{{.*}}: tensor<16xf32> {jogak.offset = 0 : i64}
// CHECK-SAME: jogak.arena = 192 : i64
// CHECK: tensor.concat {{.*}} {jogak.offset = array<i64: 64>}
// CHECK: linalg.generic
// CHECK: jogak.offset = array<i64: 64>
func.func @chain(%x: tensor<16xf32>) -> tensor<32xf32> {
  %c = tensor.concat dim(0) %x, %x : (tensor<16xf32>, tensor<16xf32>) -> tensor<32xf32>
  %e = tensor.empty() : tensor<32xf32>
  %r = linalg.generic {
    indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]
  } ins(%c : tensor<32xf32>) outs(%e : tensor<32xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<32xf32>
  return %r : tensor<32xf32>
}

// -----

// A program without ops needs its arguments only.

// CHECK-LABEL: func.func @identity
// CHECK-SAME: jogak.arena = 64 : i64
func.func @identity(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}

// -----

// A constant lies in memory from its first reader on, not from the start: it takes the place of %c.

// CHECK-LABEL: func.func @constant
// CHECK-SAME: jogak.arena = 320 : i64
// CHECK: tensor.concat
// CHECK: tensor.extract_slice
// CHECK: arith.constant
// CHECK-NEXT: tensor.concat
func.func @constant(%x: tensor<8xf32>) -> tensor<24xf32> {
  %k = arith.constant dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> : tensor<8xf32>
  %c = tensor.concat dim(0) %x, %x : (tensor<8xf32>, tensor<8xf32>) -> tensor<16xf32>
  %s = tensor.extract_slice %c[0] [8] [2] : tensor<16xf32> to tensor<8xf32>
  %r = tensor.concat dim(0) %s, %x, %k : (tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<24xf32>
  return %r : tensor<24xf32>
}
