// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate{agreed=true})' | FileCheck %s
// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-propagate)' | FileCheck %s --check-prefix=LARGER

#id = affine_map<(i, j, k) -> (i, j, k)>

// Check S4. What the tensors agree on goes to all of them: `a b` on the first dimension, `c` on the second, and
// nothing on the third, where one has `f` and the other `g`.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8x8x8xf32> {{.*}}jogak.sharding = "[a b, c, f]"
// CHECK-SAME: %arg1: tensor<8x8x8xf32> {{.*}}jogak.sharding = "[a b, c d, g]"
// CHECK-SAME: %arg2: tensor<8x8x8xf32> {{.*}}jogak.sharding = "[a b, c e, _]"
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[a b, c, _]"]

// LARGER-LABEL: func.func @main
// LARGER: linalg.generic
// LARGER-SAME: jogak.sharding = ["[a b, c d, f]"]
shard.grid @mesh(shape = 2x2x2x2x2x2x2) {jogak.axes = ["a", "b", "c", "d", "e", "f", "g"]}
func.func @main(
    %x: tensor<8x8x8xf32> {jogak.constraint = "[a ?, ?, f ?]"},
    %y: tensor<8x8x8xf32> {jogak.constraint = "[a b ?, c d ?, g ?]"},
    %z: tensor<8x8x8xf32> {jogak.constraint = "[?, c e ?, ?]"}) -> tensor<8x8x8xf32> {
  %e = tensor.empty() : tensor<8x8x8xf32>
  %s = linalg.generic {indexing_maps = [#id, #id, #id, #id], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x, %y, %z : tensor<8x8x8xf32>, tensor<8x8x8xf32>, tensor<8x8x8xf32>) outs(%e : tensor<8x8x8xf32>) {
  ^bb0(%p: f32, %q: f32, %r: f32, %o: f32):
    %0 = arith.addf %p, %q : f32
    %1 = arith.addf %0, %r : f32
    linalg.yield %1 : f32
  } -> tensor<8x8x8xf32>
  return %s : tensor<8x8x8xf32>
}

// -----

#row = affine_map<(i, j) -> (i)>
#id = affine_map<(i, j) -> (i, j)>

// An axis that two tensors have on two dimensions of an op goes to neither of them.

// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK-SAME: jogak.sharding = ["[_, _]"]

// LARGER-LABEL: func.func @main
// LARGER: linalg.generic
// LARGER-SAME: jogak.sharding = ["[_, a]"]
shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[a]"}, %y: tensor<8x8xf32> {jogak.constraint = "[?, a]"}) -> tensor<8x8xf32> {
  %e = tensor.empty() : tensor<8x8xf32>
  %s = linalg.generic {indexing_maps = [#row, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%x, %y : tensor<8xf32>, tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %0 = arith.addf %p, %q : f32
    linalg.yield %0 : f32
  } -> tensor<8x8xf32>
  return %s : tensor<8x8xf32>
}
