// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-propagate)'

// expected-error @+1 {{the module declares no mesh}}
module {
  func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
    return %x : tensor<8xf32>
  }
}

// -----

shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
// expected-error @+1 {{unknown mesh axis 'model'}}
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[model]"}) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}

// -----

shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
// expected-error @+1 {{[data, _] has 2 dimensions, the value has 1}}
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[data, _]"}) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}

// -----

#id = affine_map<(d0) -> (d0)>

shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[data]"}) -> tensor<7xf32> {
  %s = tensor.extract_slice %x[0] [7] [1] : tensor<8xf32> to tensor<7xf32>
  %e = tensor.empty() : tensor<7xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%s : tensor<7xf32>) outs(%e : tensor<7xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<7xf32>
  return %y : tensor<7xf32>
}

// -----

shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main(%arg0: tensor<8x4xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{tensor.cast has a result of dynamic shape: tensor<?x4xf32>}}
  %0 = tensor.cast %arg0 : tensor<8x4xf32> to tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// What every device makes for itself lies as each user wants it.

shard.grid @mesh(shape = 2) {jogak.axes = ["x"]}
func.func @main() -> tensor<8xf32> {
  %c = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<8xf32>
  // expected-warning @+1 {{a constraint on a value that every device makes for itself has no effect}}
  %y = linalg.fill {jogak.constraint = "[x]"} ins(%c : f32) outs(%e : tensor<8xf32>) -> tensor<8xf32>
  return %y : tensor<8xf32>
}
