// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate)' | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#swap = affine_map<(d0, d1) -> (d1, d0)>

// Forwards through a transpose, with the second dimension left alone.

// CHECK-LABEL: func.func @main
// CHECK-SAME: jogak.sharding = "[data, _]"
// CHECK-SAME: -> (tensor<4x8xf32> {jogak.sharding = "[_, data]"})
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[_, data]"]
shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main(%x: tensor<8x4xf32> {jogak.constraint = "[data, _]"}) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %y = linalg.generic {indexing_maps = [#swap, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<8x4xf32>) outs(%e : tensor<4x8xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

#id = affine_map<(d0) -> (d0)>

// Backwards: the constraint is on the op in the middle.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8xf32> {jogak.sharding = "[data]"}
// CHECK: jogak.constraint = "[data]"
// CHECK-SAME: jogak.sharding = ["[data]"]
shard.grid @mesh(shape = 4) {jogak.axes = ["data"]}
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  %e = tensor.empty() : tensor<8xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) attrs = {jogak.constraint = "[data]"} {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<8xf32>
  return %y : tensor<8xf32>
}

// -----

#a = affine_map<(d0, d1, d2) -> (d0, d2)>
#b = affine_map<(d0, d1, d2) -> (d2, d1)>
#c = affine_map<(d0, d1, d2) -> (d0, d1)>

// A matrix product: rows from the left operand, columns from the right one.

// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[data, model]"]
shard.grid @mesh(shape = 2x2) {jogak.axes = ["data", "model"]}
func.func @main(%x: tensor<8x4xf32> {jogak.constraint = "[data, _]"}, %w: tensor<4x6xf32> {jogak.constraint = "[_, model]"}) -> tensor<8x6xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<8x6xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<8x6xf32>) -> tensor<8x6xf32>
  %y = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : tensor<8x4xf32>, tensor<4x6xf32>) outs(%f : tensor<8x6xf32>) {
  ^bb0(%in: f32, %in2: f32, %out: f32):
    %0 = arith.mulf %in, %in2 : f32
    %1 = arith.addf %0, %out : f32
    linalg.yield %1 : f32
  } -> tensor<8x6xf32>
  return %y : tensor<8x6xf32>
}

// -----

// Nothing is asked: everything is whole.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8xf32> {jogak.sharding = "[_]"}
shard.grid @mesh(shape = 4) {jogak.axes = ["data"]}
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}
