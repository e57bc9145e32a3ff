// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-micro-batch{count=3})'

// expected-error @+1 {{3 micro-batches do not divide the batch of 8}}
func.func @main(%w: tensor<f32> {jogak.name = "w", jogak.role = "parameter"}, %x: tensor<8xf32> {jogak.name = "x", jogak.role = "input"})
    -> (tensor<f32> {jogak.name = "w", jogak.role = "update", jogak.updates = 0 : i64}) {
  return %w : tensor<f32>
}

// -----

// expected-error @+1 {{micro-batches are for training steps}}
func.func @main(%x: tensor<6xf32> {jogak.name = "x", jogak.role = "input"}) -> (tensor<6xf32> {jogak.name = "y", jogak.role = "output"}) {
  return %x : tensor<6xf32>
}

// -----

shard.grid @mesh(shape = 2)
// expected-error @+1 {{the program is for a mesh already}}
func.func @main(%w: tensor<f32> {jogak.name = "w", jogak.role = "parameter"}, %x: tensor<6xf32> {jogak.name = "x", jogak.role = "input"})
    -> (tensor<f32> {jogak.name = "w", jogak.role = "update", jogak.updates = 0 : i64}) {
  return %w : tensor<f32>
}

// -----

#id = affine_map<(d0) -> (d0)>
#sum = affine_map<(d0) -> ()>

// A mean over the batch in the middle: all micro-batches have to come to it before the first goes on.

// expected-warning @+1 {{the 3 micro-batches meet before their ends: 1 of 2 ops of each}}
func.func @main(%w: tensor<f32> {jogak.name = "w", jogak.role = "parameter"}, %x: tensor<6xf32> {jogak.name = "x", jogak.role = "input"})
    -> (tensor<f32> {jogak.name = "w", jogak.role = "update", jogak.updates = 0 : i64}) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  // expected-note @+1 {{they meet here}}
  %m = linalg.generic {indexing_maps = [#id, #sum], iterator_types = ["reduction"]} ins(%x : tensor<6xf32>) outs(%zero : tensor<f32>) {
  ^bb0(%a: f32, %o: f32):
    %0 = arith.addf %o, %a : f32
    linalg.yield %0 : f32
  } -> tensor<f32>
  %g = linalg.generic {indexing_maps = [#id, #sum, #sum], iterator_types = ["reduction"]} ins(%x, %m : tensor<6xf32>, tensor<f32>) outs(%zero : tensor<f32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.subf %a, %b : f32
    %1 = arith.mulf %0, %0 : f32
    %2 = arith.addf %o, %1 : f32
    linalg.yield %2 : f32
  } -> tensor<f32>
  return %g : tensor<f32>
}
