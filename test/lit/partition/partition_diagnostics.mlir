// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-partition)'

#id = affine_map<(d0) -> (d0)>

shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  %e = tensor.empty() : tensor<8xf32>
  // expected-error @+1 {{linalg.generic has no sharding}}
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<8xf32>
  return %y : tensor<8xf32>
}

// -----

shard.grid @mesh(shape = 3) {jogak.axes = ["data"]}
// expected-error @+1 {{cannot be split 3 ways}}
func.func @main(%x: tensor<2xf32> {jogak.sharding = "[data]"}) -> tensor<2xf32> {
  return %x : tensor<2xf32>
}

// -----

shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
// expected-error @+1 {{an argument cannot be a partial result}}
func.func @main(%x: tensor<8xf32> {jogak.sharding = "[_] partial(data: sum)"}) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}
