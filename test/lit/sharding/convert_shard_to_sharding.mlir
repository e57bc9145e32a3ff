// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-convert-shard-to-sharding)' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>

// A program that is annotated in part, with axes that have no names: constraints, for propagation to complete. The
// second result of an op has one of its own.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<4x8xf32> {jogak.constraint = "[axis0, _]"}
// CHECK-NOT: shard.shard
// CHECK: linalg.generic
// CHECK-SAME: jogak.constraint = "#1 [_, axis1 axis0]"
// CHECK-NOT: shard.sharding
shard.grid @mesh(shape = 2x4)
func.func @main(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %s = shard.sharding @mesh split_axes = [[0], []] : !shard.sharding
  %t = shard.sharding @mesh split_axes = [[], [1, 0]] : !shard.sharding
  %0 = shard.shard %x to %s : tensor<4x8xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %1:2 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%0 : tensor<4x8xf32>) outs(%e, %e : tensor<4x8xf32>, tensor<4x8xf32>) {
  ^bb0(%p: f32, %o: f32, %q: f32):
    linalg.yield %p, %p : f32, f32
  } -> (tensor<4x8xf32>, tensor<4x8xf32>)
  %2 = shard.shard %1#1 to %t : tensor<4x8xf32>
  return %1#0, %2 : tensor<4x8xf32>, tensor<4x8xf32>
}

// -----

// Nothing is annotated: nothing is asked.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8xf32>)
shard.grid @mesh(shape = 2)
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}

// -----

// What a user wants comes first in the text; the value's own sharding counts.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8x8xf32> {jogak.sharding = "[axis0, _]"}
shard.grid @mesh(shape = 2)
func.func @main(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %s = shard.sharding @mesh split_axes = [[0], []] : !shard.sharding
  %t = shard.sharding @mesh split_axes = [[], [0]] : !shard.sharding
  %0 = shard.shard %x to %t annotate_for_users : tensor<8x8xf32>
  %1 = shard.shard %x to %s : tensor<8x8xf32>
  return %x : tensor<8x8xf32>
}
