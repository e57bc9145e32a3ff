// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-propagate)' | filecheck %s

// One axis covers both factors of a reshape: each gets a part of it.

// CHECK: shard.grid @mesh(shape = 2x2) {jogak.axes = ["x:(1)2", "x:(2)2"]}
// CHECK: @main(%{{.*}}: tensor<8xf32> {{{.*}}jogak.sharding = "[x]"})
// CHECK: tensor.expand_shape {{.*}}jogak.sharding = ["[x:(1)2, x:(2)2]"]
shard.grid @mesh(shape = 4) {jogak.axes = ["x"]}
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[x]"}) -> tensor<2x4xf32> {
  %0 = tensor.expand_shape %x [[0, 1]] output_shape [2, 4] : tensor<8xf32> into tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// -----

// Where the axis divides the major factor it stays in one piece.

// CHECK: shard.grid @mesh(shape = 4) {jogak.axes = ["x"]}
// CHECK: tensor.expand_shape {{.*}}jogak.sharding = ["[x, _]"]
shard.grid @mesh(shape = 4) {jogak.axes = ["x"]}
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[x]"}) -> tensor<4x2xf32> {
  %0 = tensor.expand_shape %x [[0, 1]] output_shape [4, 2] : tensor<8xf32> into tensor<4x2xf32>
  return %0 : tensor<4x2xf32>
}

// -----

// A part that the axis has in common with the factor is used, the rest is told.

// CHECK: shard.grid @mesh(shape = 2x4x2) {jogak.axes = ["y", "x:(1)4", "x:(4)2"]}
// CHECK: tensor.expand_shape {{.*}}jogak.sharding = ["[x:(1)4, _]"]
shard.grid @mesh(shape = 2x8) {jogak.axes = ["y", "x"]}
func.func @main(%x: tensor<768xf32> {jogak.constraint = "[x]"}) -> tensor<12x64xf32> {
  // expected-warning @+1 {{arg0: mesh axis 'x:(4)2' splits dimension 0, but not what a reshape makes of it: 2 devices do not divide the 3 of 12x64}}
  %0 = tensor.expand_shape %x [[0, 1]] output_shape [12, 64] : tensor<768xf32> into tensor<12x64xf32>
  return %0 : tensor<12x64xf32>
}

// -----

// Backwards, and from a constraint that names sub-axes.

// CHECK: shard.grid @mesh(shape = 2x2) {jogak.axes = ["x:(1)2", "x:(2)2"]}
// CHECK: @main(%{{.*}}: tensor<2x4xf32> {{{.*}}jogak.sharding = "[x:(1)2, x:(2)2]"})
// CHECK: tensor.collapse_shape {{.*}}jogak.sharding = ["[x]"]
shard.grid @mesh(shape = 4) {jogak.axes = ["x"]}
func.func @main(%x: tensor<2x4xf32> {jogak.constraint = "[x:(1)2, x:(2)2]"}) -> tensor<8xf32> {
  %0 = tensor.collapse_shape %x [[0, 1]] : tensor<2x4xf32> into tensor<8xf32>
  return %0 : tensor<8xf32>
}

// -----

// Minor factors cannot be split alone, and heads that nothing divides stay whole: both are told.

// CHECK: shard.grid @mesh(shape = 2) {jogak.axes = ["x"]}
// CHECK: tensor.collapse_shape {{.*}}jogak.sharding = ["[_]"]
// CHECK: tensor.expand_shape {{.*}}jogak.sharding = ["[_, _]"]
shard.grid @mesh(shape = 2) {jogak.axes = ["x"]}
func.func @main(%x: tensor<2x4xf32> {jogak.constraint = "[_, x]"}, %y: tensor<6xf32> {jogak.constraint = "[x]"}) -> (tensor<8xf32>, tensor<3x2xf32>) {
  // expected-warning @+1 {{the 4 of 2x4 is not the major part}}
  %0 = tensor.collapse_shape %x [[0, 1]] : tensor<2x4xf32> into tensor<8xf32>
  // expected-warning @+1 {{2 devices do not divide the 3 of 3x2}}
  %1 = tensor.expand_shape %y [[0, 1]] output_shape [3, 2] : tensor<6xf32> into tensor<3x2xf32>
  return %0, %1 : tensor<8xf32>, tensor<3x2xf32>
}

// -----

// expected-error @+2 {{mesh axis 'x' of size 4 has no sub-axis 'x:(1)3'}}
shard.grid @mesh(shape = 4) {jogak.axes = ["x"]}
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[x:(1)3]"}) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// A result may name a sub-axis, too.

// CHECK: shard.grid @mesh(shape = 2x2) {jogak.axes = ["x:(1)2", "x:(2)2"]}
// CHECK: linalg.generic {{.*}}jogak.sharding = ["[x:(1)2]"]
shard.grid @mesh(shape = 4) {jogak.axes = ["x"]}
func.func @main(%x: tensor<8xf32>) -> (tensor<8xf32> {jogak.constraint = "[x:(1)2]"}) {
  %e = tensor.empty() : tensor<8xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<8xf32>
  return %y : tensor<8xf32>
}
