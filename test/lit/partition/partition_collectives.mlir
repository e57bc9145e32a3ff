// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-partition)' | FileCheck %s

#a = affine_map<(i, j, k) -> (i, k)>
#b = affine_map<(i, j, k) -> (k, j)>
#c = affine_map<(i, j, k) -> (i, j)>

// Column, then row: a two-layer perceptron has one all-reduce, behind the second product.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<4x16xf32>
// CHECK-SAME: %arg1: tensor<16x32xf32>
// CHECK-SAME: %arg2: tensor<32x16xf32>
// CHECK-NOT: shard.
// CHECK: linalg.generic
// CHECK-SAME: ins(%arg0, %arg1 : tensor<4x16xf32>, tensor<16x32xf32>)
// CHECK-NOT: shard.
// CHECK: %[[P:.*]] = linalg.generic
// CHECK-SAME: tensor<4x32xf32>, tensor<32x16xf32>
// CHECK: %[[R:.*]] = shard.all_reduce %[[P]] on @mesh grid_axes = [1]
// CHECK-SAME: jogak.cause = "partial result of linalg.generic: combined from [data, _] partial(model: sum) to [data, _]"
// CHECK-NOT: shard.
// CHECK: return %[[R]] : tensor<4x16xf32>
shard.grid @mesh(shape = 2x2) {jogak.axes = ["data", "model"]}
func.func @main(%x: tensor<8x16xf32> {jogak.constraint = "[data, _]"}, %u: tensor<16x64xf32> {jogak.constraint = "[_, model]"}, %d: tensor<64x16xf32> {jogak.constraint = "[model, _]"}) -> tensor<8x16xf32> {
  %z1 = arith.constant dense<0.0> : tensor<8x64xf32>
  %z2 = arith.constant dense<0.0> : tensor<8x16xf32>
  %h = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %u : tensor<8x16xf32>, tensor<16x64xf32>) outs(%z1 : tensor<8x64xf32>) {
  ^bb0(%l: f32, %r: f32, %o: f32):
    %m = arith.mulf %l, %r : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<8x64xf32>
  %y = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} ins(%h, %d : tensor<8x64xf32>, tensor<64x16xf32>) outs(%z2 : tensor<8x16xf32>) {
  ^bb0(%l: f32, %r: f32, %o: f32):
    %m = arith.mulf %l, %r : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<8x16xf32>
  return %y : tensor<8x16xf32>
}

// -----

#a = affine_map<(i, j, k) -> (i, k)>
#b = affine_map<(i, j, k) -> (k, j)>
#c = affine_map<(i, j, k) -> (i, j)>

// A partial result that is wanted split is combined and split at once.

// CHECK-LABEL: func.func @main
// CHECK: %[[P:.*]] = linalg.generic
// CHECK: shard.reduce_scatter %[[P]] on @mesh grid_axes = [0] scatter_dim = 0
// CHECK-SAME: tensor<8x8xf32> -> tensor<4x8xf32>
// CHECK-NOT: shard.
// CHECK: return
shard.grid @mesh(shape = 2) {jogak.axes = ["model"]}
func.func @main(%x: tensor<8x4xf32> {jogak.constraint = "[_, model]"}, %w: tensor<4x8xf32> {jogak.constraint = "[model, _]"}) -> tensor<8x8xf32> {
  %z = arith.constant dense<0.0> : tensor<8x8xf32>
  %y = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : tensor<8x4xf32>, tensor<4x8xf32>) outs(%z : tensor<8x8xf32>) attrs = {jogak.constraint = "[model, _]"} {
  ^bb0(%l: f32, %r: f32, %o: f32):
    %m = arith.mulf %l, %r : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<8x8xf32>
  return %y : tensor<8x8xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// An axis that only changes its dimension is moved by an all-to-all.

// CHECK-LABEL: func.func @main
// CHECK: shard.all_to_all %{{.*}} on @mesh grid_axes = [0] split_axis = 1 concat_axis = 0
// CHECK-SAME: tensor<2x4xf32> -> tensor<4x2xf32>
// CHECK-NOT: shard.all_gather
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x4xf32> {jogak.constraint = "[a, _]"}) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) attrs = {jogak.constraint = "[_, a]"} {
  ^bb0(%in: f32, %o: f32):
    linalg.yield %in : f32
  } -> tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// A value that two ops need whole is gathered once.

// CHECK-LABEL: func.func @main
// CHECK: %[[G:.*]] = shard.all_gather %arg0
// CHECK-NOT: shard.all_gather
// CHECK: tensor.cast %[[G]]
// CHECK-NOT: shard.all_gather
// CHECK: tensor.cast %[[G]]
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[a]"}) -> (tensor<4xf32>, tensor<4xf32>) {
  %y = tensor.cast %x : tensor<4xf32> to tensor<4xf32>
  %z = tensor.cast %x : tensor<4xf32> to tensor<4xf32>
  return %y, %z : tensor<4xf32>, tensor<4xf32>
}

// -----

// On an axis of size 1 nothing moves.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<4xf32>
// CHECK-NEXT: tensor.cast %arg0
// CHECK-NOT: shard.
shard.grid @mesh(shape = 1x2) {jogak.axes = ["data", "model"]}
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[data]"}) -> tensor<4xf32> {
  %y = tensor.cast %x : tensor<4xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}
