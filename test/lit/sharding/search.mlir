// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-search{machine=v100-p3.16xlarge})' | FileCheck %s

#left = affine_map<(i, j, k) -> (i, k)>
#right = affine_map<(i, j, k) -> (k, j)>
#out = affine_map<(i, j, k) -> (i, j)>

// A large product is split; nothing says along which loop, but what is left is complete on no axis twice.

// CHECK: module attributes {jogak.search = {
// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK-SAME: jogak.factors = "[{{(data, _, _|_, data, _)}}]"
shard.grid @mesh(shape = 4) {jogak.axes = ["data"]}
func.func @main(%a: tensor<8192x8192xf32>, %b: tensor<8192x8192xf32>) -> tensor<8192x8192xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<8192x8192xf32>
  %i = linalg.fill ins(%zero : f32) outs(%e : tensor<8192x8192xf32>) -> tensor<8192x8192xf32>
  %c = linalg.generic {indexing_maps = [#left, #right, #out], iterator_types = ["parallel", "parallel", "reduction"]} ins(%a, %b : tensor<8192x8192xf32>, tensor<8192x8192xf32>) outs(%i : tensor<8192x8192xf32>) {
  ^bb0(%x: f32, %y: f32, %z: f32):
    %0 = arith.mulf %x, %y : f32
    %1 = arith.addf %z, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<8192x8192xf32>
  return %c : tensor<8192x8192xf32>
}

// -----

#left = affine_map<(i, j, k) -> (i, k)>
#right = affine_map<(i, j, k) -> (k, j)>
#out = affine_map<(i, j, k) -> (i, j)>

// The user's constraints hold: with both operands split along k the product is a partial sum, which is kept scattered
// or combined, but never gathered first.

// CHECK-LABEL: func.func @main
// CHECK-SAME: jogak.sharding = "[_, data]"
// CHECK-SAME: jogak.sharding = "[data, _]"
// CHECK: jogak.factors = "[_, _, data]"
// CHECK-SAME: jogak.sharding = ["[_, _] partial(data: sum)"]
shard.grid @mesh(shape = 4) {jogak.axes = ["data"]}
func.func @main(%a: tensor<64x8192xf32> {jogak.constraint = "[_, data]"}, %b: tensor<8192x64xf32> {jogak.constraint = "[data, _]"}) -> tensor<64x64xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<64x64xf32>
  %i = linalg.fill ins(%zero : f32) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
  %c = linalg.generic {indexing_maps = [#left, #right, #out], iterator_types = ["parallel", "parallel", "reduction"]} ins(%a, %b : tensor<64x8192xf32>, tensor<8192x64xf32>) outs(%i : tensor<64x64xf32>) {
  ^bb0(%x: f32, %y: f32, %z: f32):
    %0 = arith.mulf %x, %y : f32
    %1 = arith.addf %z, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<64x64xf32>
  return %c : tensor<64x64xf32>
}

// -----

#id = affine_map<(d0) -> (d0)>

// On a mesh of one device there is nothing to split.

// CHECK-LABEL: func.func @main
// CHECK-SAME: jogak.sharding = "[_]"
// CHECK: jogak.factors = "[_]"
// CHECK-SAME: jogak.sharding = ["[_]"]
shard.grid @mesh(shape = 1) {jogak.axes = ["data"]}
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  %e = tensor.empty() : tensor<8xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<8xf32>
  return %y : tensor<8xf32>
}
