// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-bucket-collectives)' | FileCheck %s

shard.grid @mesh(shape = 2)

// CHECK-LABEL: func.func @small
// CHECK: tensor.concat dim(0)
// CHECK-NEXT: shard.all_reduce {{.*}} : tensor<10xf32> -> tensor<10xf32>
// CHECK-NOT: shard.all_reduce
func.func @small(%x: tensor<4xf32>, %y: tensor<2x3xf32>) -> (tensor<4xf32>, tensor<2x3xf32>) {
  %0 = shard.all_reduce %x on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
  %1 = shard.all_reduce %y on @mesh grid_axes = [0] : tensor<2x3xf32> -> tensor<2x3xf32>
  return %0, %1 : tensor<4xf32>, tensor<2x3xf32>
}

// -----

shard.grid @mesh(shape = 2)

// Copying these costs more than a collective's latency.

// CHECK-LABEL: func.func @large
// CHECK-NOT: tensor.concat
// CHECK-COUNT-2: shard.all_reduce
func.func @large(%x: tensor<8192x8192xf32>, %y: tensor<8192x8192xf32>) -> (tensor<8192x8192xf32>, tensor<8192x8192xf32>) {
  %0 = shard.all_reduce %x on @mesh grid_axes = [0] : tensor<8192x8192xf32> -> tensor<8192x8192xf32>
  %1 = shard.all_reduce %y on @mesh grid_axes = [0] : tensor<8192x8192xf32> -> tensor<8192x8192xf32>
  return %0, %1 : tensor<8192x8192xf32>, tensor<8192x8192xf32>
}
