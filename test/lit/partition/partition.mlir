// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-partition)' | FileCheck %s

#a = affine_map<(d0, d1, d2) -> (d0, d2)>
#b = affine_map<(d0, d1, d2) -> (d2, d1)>
#c = affine_map<(d0, d1, d2) -> (d0, d1)>

// A split contraction dimension gives partial results, which one all-reduce over that axis completes.

// CHECK-LABEL: func.func @main
// CHECK-SAME: (%arg0: tensor<4x2xf32>{{.*}}, %arg1: tensor<2x6xf32>
// CHECK: %[[P:.*]] = linalg.generic
// CHECK: shard.all_reduce %[[P]] on @mesh grid_axes = [1]
// CHECK-SAME: tensor<4x6xf32> -> tensor<4x6xf32>
// CHECK-NOT: shard.all_gather
shard.grid @mesh(shape = 2x2) {jogak.axes = ["data", "model"]}
func.func @main(%x: tensor<8x4xf32> {jogak.sharding = "[data, model]"}, %w: tensor<4x6xf32> {jogak.sharding = "[model, _]"}) -> (tensor<8x6xf32> {jogak.sharding = "[data, _]"}) {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<8x6xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<8x6xf32>) -> tensor<8x6xf32>
  %y = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : tensor<8x4xf32>, tensor<4x6xf32>) outs(%f : tensor<8x6xf32>) attrs = {jogak.sharding = ["[data, _]"]} {
  ^bb0(%in: f32, %in2: f32, %out: f32):
    %0 = arith.mulf %in, %in2 : f32
    %1 = arith.addf %0, %out : f32
    linalg.yield %1 : f32
  } -> tensor<8x6xf32>
  return %y : tensor<8x6xf32>
}

// -----

#id = affine_map<(d0) -> (d0)>

// A loop index on a split loop gets this device's offset.

// CHECK-LABEL: func.func @main
// CHECK: shard.process_multi_index
// CHECK: linalg.index 0
// CHECK: arith.addi
// CHECK: return %{{.*}} : tensor<4xindex>
shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main() -> (tensor<8xindex> {jogak.sharding = "[data]"}) {
  %e = tensor.empty() : tensor<8xindex>
  %y = linalg.generic {indexing_maps = [#id], iterator_types = ["parallel"]} outs(%e : tensor<8xindex>) attrs = {jogak.sharding = ["[data]"]} {
  ^bb0(%out: index):
    %0 = linalg.index 0 : index
    linalg.yield %0 : index
  } -> tensor<8xindex>
  return %y : tensor<8xindex>
}

// -----

// Everything is whole: nothing changes.

// CHECK-LABEL: func.func @main
// CHECK-SAME: (%arg0: tensor<8xf32>
// CHECK-NEXT: return %arg0
shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main(%x: tensor<8xf32> {jogak.sharding = "[_]"}) -> (tensor<8xf32> {jogak.sharding = "[_]"}) {
  return %x : tensor<8xf32>
}
