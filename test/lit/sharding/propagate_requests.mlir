// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate)' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>

// Values of a group lie alike, though no op connects them; one of them is an inner value.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<4x4xf32> {jogak.constraint = "[a, _] group(state)", jogak.sharding = "[a, _]"}
// CHECK-SAME: %arg1: tensor<4x4xf32> {jogak.sharding = "[a, _]"}
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[a, _]"]
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<4x4xf32> {jogak.constraint = "[a, _] group(state)"}, %y: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%y : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) attrs = {jogak.constraint = "group(state)"} {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<4x4xf32>
  return %0 : tensor<4x4xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// `b` must not split the value; nothing passes the barrier behind it, where a second constraint of a later priority
// finds its axis free.

// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[a, _]"]
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[_, a]"]
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<4x4xf32> {jogak.constraint = "[a, b]"}) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) attrs = {jogak.constraint = "replicated(b) barrier"} {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<4x4xf32>
  %1 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%0 : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) attrs = {jogak.constraint = ["[?, a ?]", "replicated(b) p1"]} {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<4x4xf32>
  return %1 : tensor<4x4xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// Two strategies on one value: the axis of the second goes where the first left room. The second result of an op.

// CHECK-LABEL: func.func @main
// CHECK-SAME: jogak.sharding = "[a b, _]"
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[a b, _]", "[a b, _]"]
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<16x4xf32>) -> (tensor<16x4xf32>, tensor<16x4xf32>) {
  %e = tensor.empty() : tensor<16x4xf32>
  %0:2 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<16x4xf32>) outs(%e, %e : tensor<16x4xf32>, tensor<16x4xf32>) attrs = {jogak.constraint = ["#1 [a ?, _]", "any(b) p1"]} {
  ^bb0(%p: f32, %o: f32, %q: f32):
    linalg.yield %p, %p : f32, f32
  } -> (tensor<16x4xf32>, tensor<16x4xf32>)
  return %0#0, %0#1 : tensor<16x4xf32>, tensor<16x4xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// A constraint on a result of the function is on the value that is returned.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8xf32> {jogak.sharding = "[a]"}
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[a]"]
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<8xf32>) -> (tensor<8xf32> {jogak.constraint = "[a]"}) {
  %e = tensor.empty() : tensor<8xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<8xf32>
  return %y : tensor<8xf32>
}
