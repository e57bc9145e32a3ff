// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-partition)' | FileCheck %s

// Slices, pads, insertions and concatenations of other dimensions stay on the device.

// CHECK-LABEL: func.func @main
// CHECK-NOT: shard.
// CHECK: tensor.extract_slice %arg0[0, 1] [2, 4] [1, 1] : tensor<2x6xf32> to tensor<2x4xf32>
// CHECK: tensor.pad
// CHECK: tensor<2x4xf32> to tensor<2x6xf32>
// CHECK: tensor.insert_slice {{.*}}[0, 0] [2, 4] [1, 1] : tensor<2x4xf32> into tensor<2x6xf32>
// CHECK: tensor.concat dim(1) {{.*}} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x12xf32>
// CHECK-NOT: shard.
// CHECK: return
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x6xf32> {jogak.constraint = "[a, _]"}) -> tensor<4x12xf32> {
  %z = arith.constant 0.5 : f32
  %s = tensor.extract_slice %x[0, 1] [4, 4] [1, 1] : tensor<4x6xf32> to tensor<4x4xf32>
  %p = tensor.pad %s low[0, 1] high[0, 1] {
  ^bb0(%i: index, %j: index):
    tensor.yield %z : f32
  } : tensor<4x4xf32> to tensor<4x6xf32>
  %q = tensor.insert_slice %s into %p[0, 0] [4, 4] [1, 1] : tensor<4x4xf32> into tensor<4x6xf32>
  %c = tensor.concat dim(1) %p, %q : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x12xf32>
  return %c : tensor<4x12xf32>
}

// -----

// A dimension that is cut far from where it lies is made whole before.

// CHECK-LABEL: func.func @main
// CHECK: %[[G:.*]] = shard.all_gather %arg0
// CHECK: tensor.extract_slice %[[G]][0, 12] [4, 4] [1, 1] : tensor<4x16xf32> to tensor<4x4xf32>
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x16xf32> {jogak.constraint = "[_, a]"}) -> tensor<4x4xf32> {
  %s = tensor.extract_slice %x[0, 12] [4, 4] [1, 1] : tensor<4x16xf32> to tensor<4x4xf32>
  return %s : tensor<4x4xf32>
}

// -----

// Axes pass through a reshape to the factors that they fill, both ways.

// CHECK-LABEL: func.func @main
// CHECK-NOT: shard.
// CHECK: tensor.expand_shape %arg0 {{.*}} output_shape [1, 2, 3] : tensor<2x3xf32> into tensor<1x2x3xf32>
// CHECK: tensor.collapse_shape {{.*}} : tensor<1x2x3xf32> into tensor<2x3xf32>
// CHECK-NOT: shard.
// CHECK: return
shard.grid @mesh(shape = 2x2x2) {jogak.axes = ["a", "b", "c"]}
func.func @main(%x: tensor<16x3xf32> {jogak.constraint = "[a b c, _]"}) -> (tensor<4x4x3xf32>, tensor<16x3xf32>) {
  %y = tensor.expand_shape %x [[0, 1], [2]] output_shape [4, 4, 3] : tensor<16x3xf32> into tensor<4x4x3xf32>
  %z = tensor.collapse_shape %y [[0, 1], [2]] : tensor<4x4x3xf32> into tensor<16x3xf32>
  return %y, %z : tensor<4x4x3xf32>, tensor<16x3xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// A constant table is whole on every device, which takes its slice; a splat and a fill are made at the local size.

// CHECK-LABEL: func.func @main
// CHECK-DAG: %[[T:.*]] = arith.constant dense<[1.0{{.*}}, 4.0{{.*}}]> : tensor<4xf32>
// CHECK-DAG: %[[S:.*]] = shard.all_slice %[[T]] on @mesh grid_axes = [0] slice_axis = 0
// CHECK-DAG: %[[C:.*]] = arith.constant dense<2.0{{.*}}> : tensor<2xf32>
// CHECK-DAG: %[[F:.*]] = linalg.fill {{.*}} -> tensor<2xf32>
// CHECK: linalg.generic
// CHECK-SAME: ins(%arg0, %[[S]], %[[C]], %[[F]] :
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[a]"}) -> tensor<4xf32> {
  %t = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %c = arith.constant dense<2.0> : tensor<4xf32>
  %three = arith.constant 3.0 : f32
  %e = tensor.empty() : tensor<4xf32>
  %f = linalg.fill ins(%three : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  %y = linalg.generic {indexing_maps = [#id, #id, #id, #id, #id], iterator_types = ["parallel"]} ins(%x, %t, %c, %f : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%p: f32, %q: f32, %r: f32, %s: f32, %o: f32):
    %0 = arith.addf %p, %q : f32
    %1 = arith.addf %r, %s : f32
    %2 = arith.addf %0, %1 : f32
    linalg.yield %2 : f32
  } -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// An op without a rule works on whole tensors.

// CHECK-LABEL: func.func @main
// CHECK: %[[G:.*]] = shard.all_gather %arg0
// CHECK: tensor.cast %[[G]] : tensor<4xf32> to tensor<4xf32>
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[a]"}) -> tensor<4xf32> {
  %y = tensor.cast %x : tensor<4xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

#window = affine_map<(n, i, k) -> (n, i + k)>
#kernel = affine_map<(n, i, k) -> (k)>
#out = affine_map<(n, i, k) -> (n, i)>

// A window slides over the second dimension: each device gets a margin from its neighbour.

// CHECK-LABEL: func.func @main
// CHECK: %[[P:.*]] = tensor.pad %arg0 low[0, 1] high[0, 1]
// CHECK: %[[H:.*]] = shard.update_halo %[[P]] on @mesh split_axes = {{\[\[}}], [1]] halo_sizes = [1, 1]
// CHECK: %[[W:.*]] = tensor.extract_slice {{.*}} : tensor<2x6xf32> to tensor<2x5xf32>
// CHECK: linalg.generic
// CHECK-SAME: ins(%[[W]], %arg1 : tensor<2x5xf32>, tensor<3xf32>)
// CHECK-NOT: shard.all_
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<4x8xf32> {jogak.constraint = "[a, b]"}, %w: tensor<3xf32>) -> tensor<4x6xf32> {
  %z = arith.constant dense<0.0> : tensor<4x6xf32>
  %y = linalg.generic {indexing_maps = [#window, #kernel, #out], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : tensor<4x8xf32>, tensor<3xf32>) outs(%z : tensor<4x6xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.mulf %p, %q : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

#window = affine_map<(n, i, k) -> (n, i + k)>
#kernel = affine_map<(n, i, k) -> (k)>
#out = affine_map<(n, i, k) -> (n, i)>

// A window of size 1 is no window.

// CHECK-LABEL: func.func @main
// CHECK-NOT: shard.all
// CHECK: return %{{.*}} : tensor<2x4xf32>
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<4x8xf32> {jogak.constraint = "[a, b]"}, %w: tensor<1xf32>) -> tensor<4x8xf32> {
  %z = arith.constant dense<0.0> : tensor<4x8xf32>
  %y = linalg.generic {indexing_maps = [#window, #kernel, #out], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : tensor<4x8xf32>, tensor<1xf32>) outs(%z : tensor<4x8xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.mulf %p, %q : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// Results: an argument, a free value, one value twice, and an update, which lies as the argument that it replaces.

// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (tensor<2xf32> {jogak.sharding = "[a]"}, tensor<4xf32> {jogak.sharding = "[_]"}, tensor<2xf32> {jogak.sharding = "[a]"}, tensor<2xf32> {jogak.sharding = "[a]", jogak.updates = 0 : i64})
// CHECK: %[[HALF:.*]] = arith.constant dense<2.0{{.*}}> : tensor<2xf32>
// CHECK: return %arg0, %{{.*}}, %arg0, %[[HALF]]
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[a]"}) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32> {jogak.updates = 0 : i64}) {
  %s = arith.constant dense<2.0> : tensor<4xf32>
  return %x, %s, %x, %s : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}
