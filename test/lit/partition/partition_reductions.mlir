// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-partition)' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// An initial value that is the identity needs nothing.

// CHECK-LABEL: func.func @main
// CHECK-NOT: process_multi_index
// CHECK-NOT: arith.select
// CHECK: shard.all_reduce
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x64xf32> {jogak.constraint = "[_, a]"}) -> tensor<4xf32> {
  %init = arith.constant dense<0.0> : tensor<4xf32>
  %y = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<4x64xf32>) outs(%init : tensor<4xf32>) {
  ^bb0(%in: f32, %o: f32):
    %s = arith.addf %o, %in : f32
    linalg.yield %s : f32
  } -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// Another one counts on the first device only: the others start from the identity.

// CHECK-LABEL: func.func @main
// CHECK: %[[I:.*]] = shard.process_multi_index
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[I]]
// CHECK: %[[START:.*]] = linalg.generic
// CHECK: arith.constant 1.000000e+00 : f32
// CHECK: arith.select %[[FIRST]]
// CHECK: %[[P:.*]] = linalg.generic
// CHECK-SAME: outs(%[[START]] : tensor<4xf32>)
// CHECK: shard.all_reduce %[[P]] on @mesh grid_axes = [0] reduction = product
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x64xf32> {jogak.constraint = "[_, a]"}, %init: tensor<4xf32>) -> tensor<4xf32> {
  %y = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<4x64xf32>) outs(%init : tensor<4xf32>) {
  ^bb0(%in: f32, %o: f32):
    %s = arith.mulf %in, %o : f32
    linalg.yield %s : f32
  } -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// A maximum may count its initial value on every device.

// CHECK-LABEL: func.func @main
// CHECK-NOT: arith.select
// CHECK: linalg.generic
// CHECK-SAME: outs(%arg1 : tensor<4xf32>)
// CHECK: shard.all_reduce {{.*}} reduction = max
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x64xf32> {jogak.constraint = "[_, a]"}, %init: tensor<4xf32>) -> tensor<4xf32> {
  %y = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<4x64xf32>) outs(%init : tensor<4xf32>) {
  ^bb0(%in: f32, %o: f32):
    %s = arith.maximumf %in, %o : f32
    linalg.yield %s : f32
  } -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// Partial results of an index and a value cannot be combined by one collective: the operand is gathered.

// CHECK-LABEL: func.func @main
// CHECK: shard.all_gather %arg0
// CHECK: linalg.generic
// CHECK-NOT: shard.all_reduce
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x64xi64> {jogak.constraint = "[_, a]"}) -> (tensor<4xi64>, tensor<4xi64>) {
  %low = arith.constant dense<-9> : tensor<4xi64>
  %none = arith.constant dense<0> : tensor<4xi64>
  %y:2 = linalg.generic {indexing_maps = [#id, #row, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<4x64xi64>) outs(%low, %none : tensor<4xi64>, tensor<4xi64>) {
  ^bb0(%in: i64, %best: i64, %at: i64):
    %i = linalg.index 1 : index
    %j = arith.index_cast %i : index to i64
    %above = arith.cmpi sgt, %in, %best : i64
    %v = arith.select %above, %in, %best : i64
    %w = arith.select %above, %j, %at : i64
    linalg.yield %v, %w : i64, i64
  } -> (tensor<4xi64>, tensor<4xi64>)
  return %y#0, %y#1 : tensor<4xi64>, tensor<4xi64>
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// On booleans a sum is an exclusive or, which no collective knows; an unsigned maximum is an or.

// CHECK-LABEL: func.func @main
// CHECK: %[[P:.*]] = linalg.generic
// CHECK-SAME: tensor<4x16xi1>
// CHECK: shard.all_reduce %[[P]] on @mesh grid_axes = [0] reduction = bitwise_or
// CHECK: shard.all_gather
// CHECK: linalg.generic
// CHECK-SAME: tensor<4x64xi1>
// CHECK-NOT: shard.all_reduce
shard.grid @mesh(shape = 4) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x64xi1> {jogak.constraint = "[_, a]"}) -> (tensor<4xi1>, tensor<4xi1>) {
  %init = arith.constant dense<false> : tensor<4xi1>
  %y = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<4x64xi1>) outs(%init : tensor<4xi1>) {
  ^bb0(%in: i1, %o: i1):
    %s = arith.maxui %in, %o : i1
    linalg.yield %s : i1
  } -> tensor<4xi1>
  %z = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<4x64xi1>) outs(%init : tensor<4xi1>) {
  ^bb0(%in: i1, %o: i1):
    %s = arith.addi %in, %o : i1
    linalg.yield %s : i1
  } -> tensor<4xi1>
  return %y, %z : tensor<4xi1>, tensor<4xi1>
}
