// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-partition)' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>

// Pieces change places: each device sends its own to one other. On axes of one size the peer is read off the position.

// CHECK-LABEL: func.func @main
// CHECK: %[[P:.*]]:2 = shard.process_multi_index on @mesh
// CHECK: %[[V:.*]] = linalg.generic
// CHECK: %[[S:.*]] = shard.send %[[V]] on @mesh grid_axes = [0, 1] destination = [%[[P]]#1, %[[P]]#0]
// CHECK-SAME: (tensor<4x16xf32>, index, index) -> tensor<4x16xf32>
// CHECK: %[[R:.*]] = shard.recv %[[S]] on @mesh grid_axes = [0, 1] source = [%[[P]]#1, %[[P]]#0]
// CHECK-SAME: jogak.cause = "operand of func.return: moved from [x y, _] to [y x, _]"
// CHECK-NOT: shard.
// CHECK: return %[[R]]
shard.grid @mesh(shape = 2x2) {jogak.axes = ["x", "y"]}
func.func @main(%x: tensor<16x16xf32> {jogak.constraint = "[x y, _]"}) -> (tensor<16x16xf32> {jogak.constraint = "[y x, _]"}) {
  %e = tensor.empty() : tensor<16x16xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<16x16xf32>) outs(%e : tensor<16x16xf32>) attrs = {jogak.constraint = "[x y, _]"} {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  } -> tensor<16x16xf32>
  return %y : tensor<16x16xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// On axes of other sizes it is computed: the piece's number, counted in the other order.

// CHECK-LABEL: func.func @main
// CHECK: arith.remui
// CHECK: arith.divui
// CHECK: %[[S:.*]] = shard.send
// CHECK: shard.recv %[[S]]
// CHECK-NOT: shard.
// CHECK: return
shard.grid @mesh(shape = 2x3) {jogak.axes = ["x", "y"]}
func.func @main(%x: tensor<48x16xf32> {jogak.constraint = "[x y, _]"}) -> (tensor<48x16xf32> {jogak.constraint = "[y x, _]"}) {
  %e = tensor.empty() : tensor<48x16xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<48x16xf32>) outs(%e : tensor<48x16xf32>) attrs = {jogak.constraint = "[x y, _]"} {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  } -> tensor<48x16xf32>
  return %y : tensor<48x16xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// Nothing is sent where the axes stay in their places.

// CHECK-LABEL: func.func @main
// CHECK-NOT: shard.
// CHECK: return
shard.grid @mesh(shape = 2x2) {jogak.axes = ["x", "y"]}
func.func @main(%x: tensor<16x16xf32> {jogak.constraint = "[x y, _]"}) -> (tensor<16x16xf32> {jogak.constraint = "[x y, _]"}) {
  %e = tensor.empty() : tensor<16x16xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<16x16xf32>) outs(%e : tensor<16x16xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  } -> tensor<16x16xf32>
  return %y : tensor<16x16xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// Axes of different sizes change places in parts, for which the grid is taken apart.

// CHECK: shard.grid @mesh(shape = 2x2x2) {jogak.axes = ["x:(1)2", "x:(2)2", "y"]}
// CHECK-LABEL: func.func @main
// CHECK: %[[P:.*]]:3 = shard.process_multi_index on @mesh
// CHECK: %[[A:.*]] = shard.all_to_all %{{.*}} on @mesh grid_axes = [1] split_axis = 1 concat_axis = 0
// CHECK: %[[S:.*]] = shard.send %[[A]] on @mesh grid_axes = [0, 2] destination = [%[[P]]#2, %[[P]]#0]
// CHECK: %[[R:.*]] = shard.recv %[[S]]
// CHECK-NOT: shard.
// CHECK: return %[[R]]
shard.grid @mesh(shape = 4x2) {jogak.axes = ["x", "y"]}
func.func @main(%x: tensor<512x256xf32> {jogak.constraint = "[x, y]"}) -> (tensor<512x256xf32> {jogak.constraint = "[y, x]"}) {
  %e = tensor.empty() : tensor<512x256xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<512x256xf32>) outs(%e : tensor<512x256xf32>) attrs = {jogak.constraint = "[x, y]"} {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  } -> tensor<512x256xf32>
  return %y : tensor<512x256xf32>
}
