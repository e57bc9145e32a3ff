// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-partition)' | FileCheck %s

// A causal shift: all but the last element. 4 pieces of 4 become pieces of 4 (15, padded); nothing moves.

// CHECK-LABEL: func.func @main
// CHECK-NOT: shard.update_halo
// CHECK-NOT: shard.all_gather
// CHECK: return %{{.*}} : tensor<2x4xf32>
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<2x16xf32> {jogak.constraint = "[_, a]"}) -> tensor<2x15xf32> {
  %s = tensor.extract_slice %x[0, 0] [2, 15] [1, 1] : tensor<2x16xf32> to tensor<2x15xf32>
  return %s : tensor<2x15xf32>
}

// -----

// All but the first: one element from the device behind.

// CHECK-LABEL: func.func @main
// CHECK: shard.update_halo {{.*}} halo_sizes = [0, 1]
// CHECK-NOT: shard.all_gather
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<2x16xf32> {jogak.constraint = "[_, a]"}) -> tensor<2x15xf32> {
  %s = tensor.extract_slice %x[0, 1] [2, 15] [1, 1] : tensor<2x16xf32> to tensor<2x15xf32>
  return %s : tensor<2x15xf32>
}

// -----

// Every second element needs no neighbour.

// CHECK-LABEL: func.func @main
// CHECK-NOT: shard.update_halo
// CHECK: tensor.extract_slice %{{.*}}[0, 0] [2, 2] [1, 2] : tensor<2x3xf32> to tensor<2x2xf32>
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<2x16xf32> {jogak.constraint = "[_, a]"}) -> tensor<2x8xf32> {
  %s = tensor.extract_slice %x[0, 1] [2, 8] [1, 2] : tensor<2x16xf32> to tensor<2x8xf32>
  return %s : tensor<2x8xf32>
}

// -----

// A border is written where the whole tensor has it, not around each piece.

// CHECK-LABEL: func.func @main
// CHECK: shard.update_halo
// CHECK: linalg.generic
// CHECK: linalg.index 1
// CHECK: arith.select
// CHECK-NOT: tensor.pad {{.*}} low[0, 2]
// CHECK: return %{{.*}} : tensor<2x5xf32>
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<2x16xf32> {jogak.constraint = "[_, a]"}) -> tensor<2x20xf32> {
  %z = arith.constant 1.0 : f32
  %p = tensor.pad %x low[0, 2] high[0, 2] {
  ^bb0(%i: index, %j: index):
    tensor.yield %z : f32
  } : tensor<2x16xf32> to tensor<2x20xf32>
  return %p : tensor<2x20xf32>
}

// -----

// A class token in front of patches: every device has the token, the patches move by one.

// CHECK-LABEL: func.func @main
// CHECK: shard.update_halo
// CHECK-NOT: tensor.concat
// CHECK: linalg.index 0
// CHECK: return %{{.*}} : tensor<5x1048576xf32>
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%t: tensor<1x1048576xf32>, %x: tensor<16x1048576xf32> {jogak.constraint = "[a, _]"}) -> tensor<17x1048576xf32> {
  %c = tensor.concat dim(0) %t, %x : (tensor<1x1048576xf32>, tensor<16x1048576xf32>) -> tensor<17x1048576xf32>
  return %c : tensor<17x1048576xf32>
}
