// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-partition)'

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32> {jogak.sharding = "[a]"}) -> tensor<4xf32> {
  // expected-error @+1 {{2 shardings for 1 results}}
  %y = tensor.cast %x {jogak.sharding = ["[_]", "[_]"]} : tensor<4xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32> {jogak.sharding = "[a]"}) -> tensor<4xf32> {
  // expected-error @+1 {{has 2 dimensions, the value has 1}}
  %y = tensor.cast %x {jogak.sharding = ["[_, a]"]} : tensor<4xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32> {jogak.sharding = "[a]"}) -> tensor<4xf32> {
  // expected-error @+1 {{unknown mesh axis 'b'}}
  %y = tensor.cast %x {jogak.sharding = ["[b]"]} : tensor<4xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

shard.grid @mesh(shape = 2) {jogak.axes = ["a"]}
func.func @main(%x: tensor<4xf32> {jogak.sharding = "[a]"}) -> tensor<4xf32> {
  // expected-error @+1 {{open dimension}}
  %y = tensor.cast %x {jogak.sharding = ["[a ?]"]} : tensor<4xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(%x: tensor<4x4xf32> {jogak.sharding = "[a, _]"}) -> tensor<4x4xf32> {
  // expected-error @+1 {{mesh axis 'a' is used twice}}
  %y = tensor.cast %x {jogak.sharding = ["[a, a]"]} : tensor<4x4xf32> to tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}
