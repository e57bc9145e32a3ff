// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate,jogak-partition)' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>

// A causal mask compares positions in the whole tensor: rows are shifted by this device's offset, columns are not.

// CHECK-LABEL: func.func @main
// CHECK: %[[I:.*]]:2 = shard.process_multi_index
// CHECK: %[[PART:.*]] = arith.constant 2 : index
// CHECK: %[[OFFSET:.*]] = arith.muli %[[I]]#1, %[[PART]]
// CHECK: %[[ROW:.*]] = linalg.index 0
// CHECK: %[[SHIFTED:.*]] = arith.addi %[[ROW]], %[[OFFSET]]
// CHECK: %[[COLUMN:.*]] = linalg.index 1
// CHECK: arith.cmpi sle, %[[COLUMN]], %[[SHIFTED]]
shard.grid @mesh(shape = 2x4) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<8x8xf32> {jogak.constraint = "[b, _]"}) -> tensor<8x8xf32> {
  %low = arith.constant -1.0e9 : f32
  %e = tensor.empty() : tensor<8x8xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) {
  ^bb0(%in: f32, %o: f32):
    %r = linalg.index 0 : index
    %c = linalg.index 1 : index
    %seen = arith.cmpi sle, %c, %r : index
    %v = arith.select %seen, %in, %low : f32
    linalg.yield %v : f32
  } -> tensor<8x8xf32>
  return %y : tensor<8x8xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// Two axes on one dimension: the offset counts the last axis fastest.

// CHECK-LABEL: func.func @main
// CHECK: %[[I:.*]]:2 = shard.process_multi_index
// CHECK: %[[TWO:.*]] = arith.constant 2 : index
// CHECK: %[[MAJOR:.*]] = arith.muli %[[I]]#1, %[[TWO]]
// CHECK: arith.addi %[[MAJOR]], %[[I]]#0
shard.grid @mesh(shape = 2x4) {jogak.axes = ["a", "b"]}
func.func @main() -> tensor<16xindex> {
  %e = tensor.empty() : tensor<16xindex>
  %y = linalg.generic {indexing_maps = [#id], iterator_types = ["parallel"]} outs(%e : tensor<16xindex>) attrs = {jogak.constraint = "[b a]"} {
  ^bb0(%o: index):
    %i = linalg.index 0 : index
    linalg.yield %i : index
  } -> tensor<16xindex>
  return %y : tensor<16xindex>
}

// -----

#rows = affine_map<(i, j) -> (i)>
#id = affine_map<(i, j) -> (i, j)>

// A gather from a table whose rows are split: rows of other devices read as zero, and the sum over the devices is the row.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg1: tensor<4096x32xf32>
// CHECK: %[[P:.*]] = linalg.generic
// CHECK: %[[ROW:.*]] = arith.index_cast
// CHECK: %[[MOVED:.*]] = arith.subi %[[ROW]]
// CHECK: %[[ABOVE:.*]] = arith.cmpi sge, %[[MOVED]]
// CHECK: %[[BELOW:.*]] = arith.cmpi slt, %[[MOVED]]
// CHECK: %[[INSIDE:.*]] = arith.andi %[[ABOVE]], %[[BELOW]]
// CHECK: %[[SAFE:.*]] = arith.select %[[INSIDE]], %[[MOVED]]
// CHECK: %[[X:.*]] = tensor.extract %arg1[%[[SAFE]],
// CHECK: arith.select %[[INSIDE]], %[[X]]
// CHECK: shard.all_reduce %[[P]] on @mesh grid_axes = [0]
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%i: tensor<6xi64>, %t: tensor<8192x32xf32> {jogak.constraint = "[a, _]"}) -> tensor<6x32xf32> {
  %e = tensor.empty() : tensor<6x32xf32>
  %y = linalg.generic {indexing_maps = [#rows, #id], iterator_types = ["parallel", "parallel"]} ins(%i : tensor<6xi64>) outs(%e : tensor<6x32xf32>) {
  ^bb0(%in: i64, %o: f32):
    %row = arith.index_cast %in : i64 to index
    %col = linalg.index 1 : index
    %x = tensor.extract %t[%row, %col] : tensor<8192x32xf32>
    linalg.yield %x : f32
  } -> tensor<6x32xf32>
  return %y : tensor<6x32xf32>
}

// -----

#rows = affine_map<(i, j) -> (i)>
#id = affine_map<(i, j) -> (i, j)>

// A dimension of the table that a loop runs through is split with the loop, and read by this device's own index.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg1: tensor<8x16xf32>
// CHECK-NOT: shard.
// CHECK: linalg.index 1
// CHECK: %[[COL:.*]] = linalg.index 1
// CHECK: tensor.extract %arg1[%{{.*}}, %[[COL]]] : tensor<8x16xf32>
// CHECK-NOT: shard.all
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%i: tensor<6xi64>, %t: tensor<8x32xf32> {jogak.constraint = "[_, a]"}) -> tensor<6x32xf32> {
  %e = tensor.empty() : tensor<6x32xf32>
  %y = linalg.generic {indexing_maps = [#rows, #id], iterator_types = ["parallel", "parallel"]} ins(%i : tensor<6xi64>) outs(%e : tensor<6x32xf32>) {
  ^bb0(%in: i64, %o: f32):
    %row = arith.index_cast %in : i64 to index
    %col = linalg.index 1 : index
    %x = tensor.extract %t[%row, %col] : tensor<8x32xf32>
    linalg.yield %x : f32
  } -> tensor<6x32xf32>
  return %y : tensor<6x32xf32>
}

// -----

// A scatter into split rows: updates of other devices' rows become zeros for row 0, which is then written several times.
// Updates that are split by another axis are summed over it, with the target counted once.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg2: tensor<2048x64xf32>
// CHECK: %[[START:.*]] = linalg.generic
// CHECK-SAME: ins(%arg2 : tensor<2048x64xf32>)
// CHECK: %[[UPDATES:.*]] = linalg.generic
// CHECK: arith.select
// CHECK: %[[ROWS:.*]] = linalg.generic
// CHECK: arith.index_cast
// CHECK: %[[P:.*]] = tm_tensor.scatter {dimension_map = array<i64: 0>} unique_indices(false) ins(%[[UPDATES]], %[[ROWS]] : tensor<4x64xf32>, tensor<4x1xi32>) outs(%[[START]] : tensor<2048x64xf32>)
// CHECK: shard.all_reduce %[[P]] on @mesh grid_axes = [1]
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%u: tensor<8x64xf32> {jogak.constraint = "[b, _]"}, %i: tensor<8x1xi32> {jogak.constraint = "[b, _]"}, %t: tensor<4096x64xf32> {jogak.constraint = "[a, _]"}) -> tensor<4096x64xf32> {
  %y = tm_tensor.scatter {dimension_map = array<i64: 0>} unique_indices(true) ins(%u, %i : tensor<8x64xf32>, tensor<8x1xi32>) outs(%t : tensor<4096x64xf32>) {
  ^bb0(%new: f32, %old: f32):
    %s = arith.addf %old, %new : f32
    tm_tensor.yield %s : f32
  } -> tensor<4096x64xf32>
  return %y : tensor<4096x64xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// What is computed from indices alone is made where it is needed, for each use as it is needed there.

// CHECK-LABEL: func.func @main
// CHECK-NOT: shard.all_
// CHECK-COUNT-2: linalg.index 0
// CHECK-NOT: shard.all_
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<16xindex> {jogak.constraint = "[a]"}, %z: tensor<16xindex> {jogak.constraint = "[b]"}) -> (tensor<16xindex>, tensor<16xindex>) {
  %e = tensor.empty() : tensor<16xindex>
  %y = linalg.generic {indexing_maps = [#id], iterator_types = ["parallel"]} outs(%e : tensor<16xindex>) {
  ^bb0(%o: index):
    %i = linalg.index 0 : index
    linalg.yield %i : index
  } -> tensor<16xindex>
  %p = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel"]} ins(%x, %y : tensor<16xindex>, tensor<16xindex>) outs(%e : tensor<16xindex>) {
  ^bb0(%c: index, %d: index, %o: index):
    %s = arith.addi %c, %d : index
    linalg.yield %s : index
  } -> tensor<16xindex>
  %q = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel"]} ins(%z, %y : tensor<16xindex>, tensor<16xindex>) outs(%e : tensor<16xindex>) {
  ^bb0(%c: index, %d: index, %o: index):
    %s = arith.muli %c, %d : index
    linalg.yield %s : index
  } -> tensor<16xindex>
  return %p, %q : tensor<16xindex>, tensor<16xindex>
}
