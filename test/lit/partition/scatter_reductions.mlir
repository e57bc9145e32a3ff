// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-scatter-reductions,canonicalize)' | FileCheck %s

shard.grid @mesh(shape = 2x2)

// The axis that is not sliced is reduced afterwards, on the part.

// CHECK-LABEL: func.func @scatter
// CHECK: shard.reduce_scatter %{{.*}} on @mesh grid_axes = [1] scatter_dim = 0
// CHECK-NEXT: shard.all_reduce %{{.*}} on @mesh grid_axes = [0]
// CHECK-NEXT: return
func.func @scatter(%x: tensor<4xf32>) -> tensor<2xf32> {
  %0 = shard.all_reduce %x on @mesh grid_axes = [0, 1] : tensor<4xf32> -> tensor<4xf32>
  %1 = shard.all_slice %0 on @mesh grid_axes = [1] slice_axis = 0 : tensor<4xf32> -> tensor<2xf32>
  return %1 : tensor<2xf32>
}

// -----

shard.grid @mesh(shape = 2)

// CHECK-LABEL: func.func @taken_back
// CHECK-SAME: (%[[X:.*]]: tensor<4xf32>)
// CHECK-NEXT: return %[[X]]
func.func @taken_back(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = shard.all_gather %x on @mesh grid_axes = [0] gather_axis = 0 : tensor<4xf32> -> tensor<8xf32>
  %1 = shard.all_slice %0 on @mesh grid_axes = [0] slice_axis = 0 : tensor<8xf32> -> tensor<4xf32>
  return %1 : tensor<4xf32>
}

// -----

shard.grid @mesh(shape = 2)

// The whole sum is needed, too.

// CHECK-LABEL: func.func @unchanged
// CHECK: shard.all_reduce
// CHECK-NEXT: shard.all_slice
func.func @unchanged(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<2xf32>) {
  %0 = shard.all_reduce %x on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
  %1 = shard.all_slice %0 on @mesh grid_axes = [0] slice_axis = 0 : tensor<4xf32> -> tensor<2xf32>
  return %0, %1 : tensor<4xf32>, tensor<2xf32>
}
