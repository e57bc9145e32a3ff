// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate)' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>

// One constant, used twice, does not carry a sharding from one use to the other.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<4x4xf32> {jogak.constraint = "[a, ?]", jogak.sharding = "[a, _]"}
// CHECK-SAME: %arg1: tensor<4x4xf32> {jogak.constraint = "[?, b]", jogak.sharding = "[_, b]"}
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[a, _]"]
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[_, b]"]
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<4x4xf32> {jogak.constraint = "[a, ?]"}, %y: tensor<4x4xf32> {jogak.constraint = "[?, b]"}) -> (tensor<4x4xf32>, tensor<4x4xf32>) {
  %c = arith.constant dense<[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]> : tensor<4x4xf32>
  %e = tensor.empty() : tensor<4x4xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%x, %c : tensor<4x4xf32>, tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<4x4xf32>
  %1 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%y, %c : tensor<4x4xf32>, tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<4x4xf32>
  return %0, %1 : tensor<4x4xf32>, tensor<4x4xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// An update and the argument that it replaces agree, whoever got its sharding first.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<4xf32> {jogak.sharding = "[a]"}
// CHECK-SAME: -> (tensor<4xf32> {jogak.sharding = "[a]", jogak.updates = 0 : i64})
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%w: tensor<4xf32>, %g: tensor<4xf32> {jogak.constraint = "[a]"}) -> (tensor<4xf32> {jogak.updates = 0 : i64}) {
  %e = tensor.empty() : tensor<4xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%g : tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// Where the argument must stay whole, the result says so, though the op before it is split.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<4xf32> {jogak.constraint = "[_]", jogak.sharding = "[_]"}
// CHECK-SAME: -> (tensor<4xf32> {jogak.sharding = "[_]", jogak.updates = 0 : i64})
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[a]"]
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%w: tensor<4xf32> {jogak.constraint = "[_]"}, %g: tensor<4xf32> {jogak.constraint = "[a]"}) -> (tensor<4xf32> {jogak.updates = 0 : i64}) {
  %e = tensor.empty() : tensor<4xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%g : tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// Through a reshape, a slice that cuts the other dimension, and a concatenation.

// CHECK-LABEL: func.func @main
// CHECK: tensor.expand_shape {{.*}} {jogak.sharding = ["[a, _, b]"]}
// CHECK: tensor.extract_slice {{.*}} {jogak.sharding = ["[a, _, b]"]}
// CHECK: tensor.concat {{.*}} {jogak.sharding = ["[a, _, b]"]}
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<8x4xf32> {jogak.constraint = "[a, b]"}) -> tensor<2x6x4xf32> {
  %y = tensor.expand_shape %x [[0, 1], [2]] output_shape [2, 4, 4] : tensor<8x4xf32> into tensor<2x4x4xf32>
  %s = tensor.extract_slice %y[0, 1, 0] [2, 2, 4] [1, 1, 1] : tensor<2x4x4xf32> to tensor<2x2x4xf32>
  %c = tensor.concat dim(1) %y, %s : (tensor<2x4x4xf32>, tensor<2x2x4xf32>) -> tensor<2x6x4xf32>
  return %c : tensor<2x6x4xf32>
}

// -----

#pair = affine_map<(i) -> (i, i)>
#id = affine_map<(i) -> (i)>

// A diagonal stays whole: one loop addresses two dimensions.

// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[_]"]
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x4xf32> {jogak.constraint = "[a, _]"}) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %y = linalg.generic {indexing_maps = [#pair, #id], iterator_types = ["parallel"]} ins(%x : tensor<4x4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<4xf32>
  return %y : tensor<4xf32>
}
