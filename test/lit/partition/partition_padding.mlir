// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-partition)' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
#column = affine_map<(i, j) -> (j)>

// 10 columns on 4 devices are 3 each. What is computed from padding is padding: no mask.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %{{.*}}: tensor<6x3xf32>
// CHECK-SAME: -> (tensor<6x3xf32>
// CHECK-NOT: arith.select
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<6x10xf32> {jogak.constraint = "[_, a]"}) -> tensor<6x10xf32> {
  %e = tensor.empty() : tensor<6x10xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<6x10xf32>) outs(%e : tensor<6x10xf32>) {
  ^bb0(%in: f32, %o: f32):
    %s = math.exp %in : f32
    linalg.yield %s : f32
  } -> tensor<6x10xf32>
  return %y : tensor<6x10xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// A maximum over them takes the identity for padding.

// CHECK-LABEL: func.func @main
// CHECK: %[[I:.*]] = shard.process_multi_index
// CHECK: %[[OFFSET:.*]] = arith.muli %[[I]]
// CHECK: %[[LEFT:.*]] = arith.subi %{{.*}}, %[[OFFSET]]
// CHECK: linalg.generic
// CHECK: %[[J:.*]] = linalg.index 1
// CHECK: %[[COUNTS:.*]] = arith.cmpi slt, %[[J]], %[[LEFT]]
// CHECK: %[[LOWEST:.*]] = arith.constant 0xFF800000
// CHECK: %[[TERM:.*]] = arith.select %[[COUNTS]], %{{.*}}, %[[LOWEST]]
// CHECK: arith.maximumf %{{.*}}, %[[TERM]]
// CHECK: shard.all_reduce {{.*}} reduction = max
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<6x10xf32> {jogak.constraint = "[_, a]"}) -> tensor<6xf32> {
  %init = arith.constant dense<0xFF800000> : tensor<6xf32>
  %y = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<6x10xf32>) outs(%init : tensor<6xf32>) {
  ^bb0(%in: f32, %o: f32):
    %s = arith.maximumf %o, %in : f32
    linalg.yield %s : f32
  } -> tensor<6xf32>
  return %y : tensor<6xf32>
}

// -----

// A sum of products masks each factor, so that it stays a contraction.

// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK: %[[A:.*]] = arith.select
// CHECK: %[[B:.*]] = arith.select
// CHECK: %[[M:.*]] = arith.mulf %[[A]], %[[B]]
// CHECK: arith.addf %{{.*}}, %[[M]]
// CHECK: shard.all_reduce
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<6x10xf32> {jogak.constraint = "[_, a]"}, %w: tensor<10x8xf32>) -> tensor<6x8xf32> {
  %init = arith.constant dense<0.0> : tensor<6x8xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j, k) -> (i, k)>, affine_map<(i, j, k) -> (k, j)>, affine_map<(i, j, k) -> (i, j)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : tensor<6x10xf32>, tensor<10x8xf32>) outs(%init : tensor<6x8xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.mulf %a, %b : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// A collective that cuts works on as much as all pieces together; what one puts together loses its padding.

// CHECK-LABEL: func.func @main
// CHECK: %[[G:.*]] = shard.all_gather %{{.*}} gather_axis = 1 {{.*}} : tensor<6x3xf32> -> tensor<6x12xf32>
// CHECK: tensor.extract_slice %[[G]][0, 0] [6, 10] [1, 1] : tensor<6x12xf32> to tensor<6x10xf32>
// CHECK: %[[P:.*]] = tensor.pad %{{.*}} low[0, 0] high[2, 0]
// CHECK: shard.all_slice %[[P]] {{.*}} slice_axis = 0 {{.*}} : tensor<8x10xf32> -> tensor<2x10xf32>
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<6x10xf32> {jogak.constraint = "[_, a]"}) -> (tensor<6x10xf32>, tensor<6x10xf32>) {
  %a = tensor.cast %x : tensor<6x10xf32> to tensor<6x10xf32>
  %e = tensor.empty() : tensor<6x10xf32>
  %b = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%a : tensor<6x10xf32>) outs(%e : tensor<6x10xf32>) attrs = {jogak.constraint = "[a, _]"} {
  ^bb0(%in: f32, %o: f32):
    %s = math.exp %in : f32
    linalg.yield %s : f32
  } -> tensor<6x10xf32>
  return %a, %b : tensor<6x10xf32>, tensor<6x10xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// A division by numbers that padding may hold needs equal parts.

// CHECK-LABEL: func.func @main
// CHECK: shard.all_gather
// CHECK: linalg.generic
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<6x10xi64> {jogak.constraint = "[_, a]"}) -> tensor<6x10xi64> {
  %e = tensor.empty() : tensor<6x10xi64>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<6x10xi64>) outs(%e : tensor<6x10xi64>) {
  ^bb0(%in: i64, %o: i64):
    %c = arith.constant 100 : i64
    %s = arith.divsi %c, %in : i64
    linalg.yield %s : i64
  } -> tensor<6x10xi64>
  return %y : tensor<6x10xi64>
}
