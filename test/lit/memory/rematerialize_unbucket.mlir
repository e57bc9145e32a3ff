// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-rematerialize{memory=17KiB},canonicalize)' --verify-diagnostics | FileCheck %s

// Two values of 4 KiB wait in a bucket of 8 KiB beside arguments of 8 KiB. Alone, each lies over what it is made of.

#map = affine_map<(d0) -> (d0)>
// CHECK-LABEL: func.func @large
// CHECK-NOT: tensor.concat
// CHECK: shard.all_reduce {{.*}} -> tensor<1024xf32>
// CHECK-NOT: tensor.concat
// CHECK: shard.all_reduce {{.*}} -> tensor<1024xf32>
// CHECK-NOT: shard.all_reduce
shard.grid @mesh(shape = 2)
// expected-remark @+1 {{1 buckets of collectives are taken apart to fit 17408 bytes}}
func.func @large(%x: tensor<1024xf32>, %y: tensor<1024xf32>) -> (tensor<1024xf32>, tensor<1024xf32>) {
  %e = tensor.empty() : tensor<1024xf32>
  %a = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel"]}
      ins(%x : tensor<1024xf32>) outs(%e : tensor<1024xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<1024xf32>
  %b = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel"]}
      ins(%y : tensor<1024xf32>) outs(%e : tensor<1024xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<1024xf32>
  %c = tensor.concat dim(0) %a, %b : (tensor<1024xf32>, tensor<1024xf32>) -> tensor<2048xf32>
  %r = shard.all_reduce %c on @mesh grid_axes = [0] : tensor<2048xf32> -> tensor<2048xf32>
  %s = tensor.extract_slice %r[0] [1024] [1] : tensor<2048xf32> to tensor<1024xf32>
  %t = tensor.extract_slice %r[1024] [1024] [1] : tensor<2048xf32> to tensor<1024xf32>
  return %s, %t : tensor<1024xf32>, tensor<1024xf32>
}

// -----

// What fits stays in its bucket.

// CHECK-LABEL: func.func @small
// CHECK: tensor.concat
// CHECK: shard.all_reduce
// CHECK-NOT: shard.all_reduce
shard.grid @mesh(shape = 2)
func.func @small(%x: tensor<256xf32>, %y: tensor<256xf32>) -> (tensor<256xf32>, tensor<256xf32>) {
  %c = tensor.concat dim(0) %x, %y : (tensor<256xf32>, tensor<256xf32>) -> tensor<512xf32>
  %r = shard.all_reduce %c on @mesh grid_axes = [0] : tensor<512xf32> -> tensor<512xf32>
  %s = tensor.extract_slice %r[0] [256] [1] : tensor<512xf32> to tensor<256xf32>
  %t = tensor.extract_slice %r[256] [256] [1] : tensor<512xf32> to tensor<256xf32>
  return %s, %t : tensor<256xf32>, tensor<256xf32>
}
