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

// -----

shard.grid @mesh(shape = 2)

#id = affine_map<(i) -> (i)>

// The second sum needs nothing of the first: both are done before the first is used.

// CHECK-LABEL: func.func @sums
// CHECK: math.exp
// CHECK: tensor.concat dim(0)
// CHECK: shard.all_reduce {{.*}} : tensor<8xf32> -> tensor<8xf32>
// CHECK-NOT: shard.all_reduce
// CHECK: arith.mulf
func.func @sums(%x: tensor<4xf32>, %y: tensor<4xf32>, %w: tensor<4xf32>) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %0 = shard.all_reduce %x on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
  %1 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel"]} ins(%0, %w : tensor<4xf32>, tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.mulf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<4xf32>
  %2 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%y : tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%a: f32, %o: f32):
    %m = math.exp %a : f32
    linalg.yield %m : f32
  } -> tensor<4xf32>
  %3 = shard.all_reduce %2 on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
  %4 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel"]} ins(%1, %3 : tensor<4xf32>, tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.addf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<4xf32>
  %5 = shard.all_gather %4 on @mesh grid_axes = [0] gather_axis = 0 : tensor<4xf32> -> tensor<8xf32>
  %6 = tensor.extract_slice %5[0] [4] [1] : tensor<8xf32> to tensor<4xf32>
  return %6 : tensor<4xf32>
}

// -----

shard.grid @mesh(shape = 2)

// A loss rides along in the reduce-scatter of gradients, once for each device.

// CHECK-LABEL: func.func @loss
// CHECK: tensor.concat dim(1)
// CHECK: shard.reduce_scatter {{.*}} : tensor<2x5xf32> -> tensor<1x5xf32>
// CHECK-NOT: shard.all_reduce
func.func @loss(%loss: tensor<f32>, %grad: tensor<8xf32>) -> (tensor<f32>, tensor<4xf32>) {
  %0 = shard.all_reduce %loss on @mesh grid_axes = [0] : tensor<f32> -> tensor<f32>
  %1 = shard.reduce_scatter %grad on @mesh grid_axes = [0] scatter_dim = 0 : tensor<8xf32> -> tensor<4xf32>
  return %0, %1 : tensor<f32>, tensor<4xf32>
}

// -----

shard.grid @mesh(shape = 2)

#id = affine_map<(i) -> (i)>

// The third sum needs the second one, which is done earlier: it stays where it is.

// CHECK-LABEL: func.func @chain
// CHECK: shard.all_reduce {{.*}} : tensor<8xf32> -> tensor<8xf32>
// CHECK: arith.mulf
// CHECK: shard.all_reduce {{.*}} : tensor<4xf32> -> tensor<4xf32>
func.func @chain(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<8xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %0 = shard.all_reduce %x on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
  %1 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel"]} ins(%0, %x : tensor<4xf32>, tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.addf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<4xf32>
  %2 = shard.all_reduce %y on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
  %3 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%2 : tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%a: f32, %o: f32):
    %m = arith.mulf %a, %a : f32
    linalg.yield %m : f32
  } -> tensor<4xf32>
  %4 = shard.all_reduce %3 on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
  %5 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel"]} ins(%1, %4 : tensor<4xf32>, tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.addf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<4xf32>
  %6 = shard.all_gather %5 on @mesh grid_axes = [0] gather_axis = 0 : tensor<4xf32> -> tensor<8xf32>
  return %6 : tensor<8xf32>
}
