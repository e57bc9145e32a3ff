// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-propagate)'

#l = affine_map<(i, j, k) -> (i, k)>
#r = affine_map<(i, j, k) -> (k, j)>
#o = affine_map<(i, j, k) -> (i, j)>

// Shardings of two constraints meet: both are named.

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4x8xf32> {jogak.constraint = "[a, _]", jogak.constraint_source = "plan.toml:2"}, %w: tensor<8x16xf32> {jogak.constraint = "[_, a]", jogak.constraint_source = "plan.toml:3"}) -> tensor<4x16xf32> {
  %z = arith.constant dense<0.0> : tensor<4x16xf32>
  // expected-remark @+1 {{'arg0' is split by a because of plan.toml:2, which linalg.generic cannot keep beside a of 'arg1' because of plan.toml:3}}
  %y = linalg.generic {indexing_maps = [#l, #r, #o], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : tensor<4x8xf32>, tensor<8x16xf32>) outs(%z : tensor<4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %c: f32):
    %m = arith.mulf %p, %q : f32
    %s = arith.addf %c, %m : f32
    linalg.yield %s : f32
  } -> tensor<4x16xf32>
  return %y : tensor<4x16xf32>
}

// -----

// Values of a group that are asked to lie differently.

shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
// expected-error @+1 {{dimension 0 is not split by b as plan.toml:3 asks: plan.toml:2 asks otherwise}}
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[a] group(g)", jogak.constraint_source = "plan.toml:2"}, %y: tensor<4xf32> {jogak.constraint = "[b] group(g)", jogak.constraint_source = "plan.toml:3"}) -> (tensor<4xf32>, tensor<4xf32>) {
  return %x, %y : tensor<4xf32>, tensor<4xf32>
}

// -----

// Values of a group with different numbers of dimensions.

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
// expected-error @+1 {{the values of group 'g' cannot lie alike: [4] of constraint in the IR and [4, 4] of constraint in the IR}}
func.func @main(%x: tensor<4xf32> {jogak.constraint = "group(g)"}, %y: tensor<4x4xf32> {jogak.constraint = "group(g)"}) -> (tensor<4xf32>, tensor<4x4xf32>) {
  return %x, %y : tensor<4xf32>, tensor<4x4xf32>
}

// -----

#id = affine_map<(i) -> (i)>

// A request for a result that the op does not have.

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  // expected-error @+1 {{there is no result #1}}
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) attrs = {jogak.constraint = "#1 [a]"} {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// No dimension is left for an axis.

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
// expected-warning @+1 {{no dimension is split by a as constraint in the IR asks: no dimension is open and large enough}}
func.func @main(%x: tensor<4x1xf32> {jogak.constraint = ["[_, ?]", "any(a) p1"]}) -> tensor<4x1xf32> {
  return %x : tensor<4x1xf32>
}
