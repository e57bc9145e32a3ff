// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-convert-shard-to-sharding)'

shard.grid @mesh(shape = 2)
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  // expected-error @+1 {{a sharding with halos or offsets of its own}}
  %s = shard.sharding @mesh split_axes = [[0]] halo_sizes = [1, 1] : !shard.sharding
  %0 = shard.shard %x to %s : tensor<8xf32>
  return %0 : tensor<8xf32>
}

// -----

// expected-error @+1 {{the module declares no mesh}}
module {
  func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
    return %x : tensor<8xf32>
  }
}

// -----

shard.grid @mesh(shape = 2)
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  %s = shard.get_sharding %x : tensor<8xf32> -> !shard.sharding
  // expected-error @+1 {{a sharding that is no shard.sharding}}
  %0 = shard.shard %x to %s : tensor<8xf32>
  return %0 : tensor<8xf32>
}
