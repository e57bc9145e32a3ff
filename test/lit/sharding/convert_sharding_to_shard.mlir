// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-convert-sharding-to-shard)' | FileCheck %s
// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-convert-sharding-to-shard,func.func(shard-partition))' | FileCheck %s --check-prefix=UPSTREAM
// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-convert-sharding-to-shard,jogak-convert-shard-to-sharding)' | FileCheck %s --check-prefix=BACK

#a = affine_map<(d0, d1, d2) -> (d0, d2)>
#b = affine_map<(d0, d1, d2) -> (d2, d1)>
#c = affine_map<(d0, d1, d2) -> (d0, d1)>
#id = affine_map<(d0, d1) -> (d0, d1)>

// Megatron's two products: MLIR's own shard-partition goes on from here, to local shapes and one all-reduce.

// CHECK-LABEL: func.func @main
// CHECK-NOT: jogak.sharding
// CHECK: %[[ROWS:.*]] = shard.sharding @mesh split_axes = {{\[\[}}0], []] : !shard.sharding
// CHECK: %[[X:.*]] = shard.shard %arg0 to %[[ROWS]] : tensor<8x4xf32>
// CHECK: shard.shard %[[X]] to %[[ROWS]] annotate_for_users : tensor<8x4xf32>
// CHECK-NOT: jogak.constraint

// UPSTREAM-LABEL: func.func @main
// UPSTREAM-SAME: %arg0: tensor<4x4xf32>, %arg1: tensor<4x8xf32>, %arg2: tensor<8x4xf32>
// UPSTREAM: math.tanh
// UPSTREAM: shard.all_reduce
// UPSTREAM-SAME: grid_axes = [1] : tensor<4x4xf32> -> tensor<4x4xf32>
// UPSTREAM-NOT: shard.all_
// UPSTREAM: return

// BACK-LABEL: func.func @main
// BACK-SAME: %arg0: tensor<8x4xf32> {jogak.sharding = "[data, _]"}, %arg1: tensor<4x16xf32> {jogak.sharding = "[_, model]"}, %arg2: tensor<16x4xf32> {jogak.sharding = "[model, _]"}
// BACK-NOT: shard.shard
// BACK: jogak.sharding = ["[data, model]"]
// BACK: jogak.sharding = ["[data, model]"]
// BACK: jogak.sharding = ["[data, _]"]
shard.grid @mesh(shape = 2x2) {jogak.axes = ["data", "model"]}
func.func @main(%x: tensor<8x4xf32> {jogak.constraint = "[data, _]"}, %u: tensor<4x16xf32> {jogak.constraint = "[_, model]"}, %d: tensor<16x4xf32> {jogak.constraint = "[model, _]"}) -> tensor<8x4xf32> {
  %z1 = arith.constant dense<0.0> : tensor<8x16xf32>
  %z2 = arith.constant dense<0.0> : tensor<8x4xf32>
  %e = tensor.empty() : tensor<8x16xf32>
  %h = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %u : tensor<8x4xf32>, tensor<4x16xf32>) outs(%z1 : tensor<8x16xf32>) {
  ^bb0(%l: f32, %r: f32, %o: f32):
    %m = arith.mulf %l, %r : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<8x16xf32>
  %t = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%h : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) {
  ^bb0(%l: f32, %o: f32):
    %m = math.tanh %l : f32
    linalg.yield %m : f32
  } -> tensor<8x16xf32>
  %y = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} ins(%t, %d : tensor<8x16xf32>, tensor<16x4xf32>) outs(%z2 : tensor<8x4xf32>) {
  ^bb0(%l: f32, %r: f32, %o: f32):
    %m = arith.mulf %l, %r : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}

// -----

// A value that its users want differently, and one that nobody uses; a program that is whole stays so.

// CHECK-LABEL: func.func @main
// CHECK: shard.sharding @mesh split_axes = {{\[\[}}0]]
// CHECK: shard.sharding @mesh split_axes = {{\[\[}}]]

// UPSTREAM-LABEL: func.func @main
// UPSTREAM-SAME: -> (tensor<4xf32>, tensor<8xf32>)

// BACK-LABEL: func.func @main
// BACK-SAME: (%arg0: tensor<8xf32> {jogak.sharding = "[data]"}, %arg1: tensor<8xf32> {jogak.sharding = "[_]"}, %arg2: tensor<8xf32> {jogak.sharding = "[_]"})
shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[data]"}, %y: tensor<8xf32>, %unused: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>) {
  return %x, %y : tensor<8xf32>, tensor<8xf32>
}
