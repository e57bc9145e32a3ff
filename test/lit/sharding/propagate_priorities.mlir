// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-propagate)'

#id = affine_map<(i, j) -> (i, j)>

// A constraint of a later priority finds its axis used by an earlier one: it does not hold, and that is told.

shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<4x4xf32> {jogak.constraint = "[a, _]"}) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  // expected-warning @+1 {{dimension 1 is not split by b a}}
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) attrs = {jogak.constraint = "[?, b a] p1"} {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<4x4xf32>
  return %0 : tensor<4x4xf32>
}

// -----

// Nobody can ask for a partial result.

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
// expected-error @+1 {{asks for a partial result}}
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[_] partial(a: sum)"}) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
