// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(jogak-refine-dimensions,canonicalize)' | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#bias = affine_map<(d0, d1) -> (d1)>

// Grouped-query attention in one weight: four query heads and two heads each of keys and values, of size 2. There are two
// shares of two query heads, a key head and a value head; the bias and its momentum follow, and so does the gradient,
// which is put together from its parts.

// CHECK-LABEL: func.func @grouped
// CHECK-SAME: %[[W:.*]]: tensor<2x8x3xf32> {jogak.logical_shape = array<i64: 16, 3>, jogak.name = "w", jogak.role = "parameter", jogak.shares = [array<i64: 4, 2, 2>, array<i64>]}
// CHECK-SAME: %[[B:.*]]: tensor<2x8xf32> {jogak.logical_shape = array<i64: 16>, jogak.name = "b", jogak.role = "parameter", jogak.shares = [array<i64: 4, 2, 2>]}
// CHECK-SAME: %[[M:.*]]: tensor<2x8xf32> {jogak.logical_shape = array<i64: 16>, jogak.name = "m", jogak.role = "optimizer_state", jogak.shares = [array<i64: 4, 2, 2>]}
// CHECK-SAME: -> (tensor<5x4x2xf32>, tensor<5x2x2xf32>, tensor<5x2x2xf32>, tensor<2x8xf32> {jogak.updates = 1 : i64})
// CHECK: %[[Y:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<5x2x4x2xf32>)
// CHECK: tensor.extract_slice %[[Y]][0, 0, 0, 0] [5, 2, 2, 2] [1, 1, 1, 1] : tensor<5x2x4x2xf32> to tensor<5x2x2x2xf32>
// CHECK: tensor.extract_slice %[[Y]][0, 0, 2, 0] [5, 2, 1, 2] [1, 1, 1, 1] : tensor<5x2x4x2xf32> to tensor<5x2x2xf32>
// CHECK: tensor.extract_slice %[[Y]][0, 0, 3, 0] [5, 2, 1, 2] [1, 1, 1, 1] : tensor<5x2x4x2xf32> to tensor<5x2x2xf32>
// CHECK: tensor.concat dim(2) {{.*}} : (tensor<5x2x2x2xf32>, tensor<5x2x1x2xf32>, tensor<5x2x1x2xf32>) -> tensor<5x2x4x2xf32>
func.func @grouped(
    %w: tensor<16x3xf32> {jogak.name = "w", jogak.role = "parameter"},
    %b: tensor<16xf32> {jogak.name = "b", jogak.role = "parameter"},
    %m: tensor<16xf32> {jogak.name = "m", jogak.role = "optimizer_state"},
    %x: tensor<5x3xf32> {jogak.name = "x", jogak.role = "input"})
    -> (tensor<5x4x2xf32>, tensor<5x2x2xf32>, tensor<5x2x2xf32>, tensor<16xf32> {jogak.updates = 1 : i64}) {
  %e = tensor.empty() : tensor<5x16xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d1, d2)>, affine_map<(d0, d1, d2) -> (d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w, %b : tensor<5x3xf32>, tensor<16x3xf32>, tensor<16xf32>) outs(%e : tensor<5x16xf32>) {
  ^bb0(%in: f32, %in2: f32, %in3: f32, %out: f32):
    %0 = arith.mulf %in, %in2 : f32
    %1 = arith.addf %0, %in3 : f32
    %2 = arith.addf %out, %1 : f32
    linalg.yield %2 : f32
  } -> tensor<5x16xf32>
  %q = tensor.extract_slice %y[0, 0] [5, 8] [1, 1] : tensor<5x16xf32> to tensor<5x8xf32>
  %k = tensor.extract_slice %y[0, 8] [5, 4] [1, 1] : tensor<5x16xf32> to tensor<5x4xf32>
  %v = tensor.extract_slice %y[0, 12] [5, 4] [1, 1] : tensor<5x16xf32> to tensor<5x4xf32>
  %qh = tensor.expand_shape %q [[0], [1, 2]] output_shape [5, 4, 2] : tensor<5x8xf32> into tensor<5x4x2xf32>
  %kh = tensor.expand_shape %k [[0], [1, 2]] output_shape [5, 2, 2] : tensor<5x4xf32> into tensor<5x2x2xf32>
  %vh = tensor.expand_shape %v [[0], [1, 2]] output_shape [5, 2, 2] : tensor<5x4xf32> into tensor<5x2x2xf32>
  %dy = tensor.concat dim(1) %q, %k, %v : (tensor<5x8xf32>, tensor<5x4xf32>, tensor<5x4xf32>) -> tensor<5x16xf32>
  %eb = tensor.empty() : tensor<16xf32>
  %db = linalg.generic {indexing_maps = [#id, #bias], iterator_types = ["reduction", "parallel"]} ins(%dy : tensor<5x16xf32>) outs(%eb : tensor<16xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  } -> tensor<16xf32>
  %new = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%db, %m : tensor<16xf32>, tensor<16xf32>) outs(%b : tensor<16xf32>) {
  ^bb0(%in: f32, %in2: f32, %out: f32):
    %0 = arith.addf %in, %in2 : f32
    %1 = arith.subf %out, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<16xf32>
  return %qh, %kh, %vh, %new : tensor<5x4x2xf32>, tensor<5x2x2xf32>, tensor<5x2x2xf32>, tensor<16xf32>
}

// -----

// The whole is a result besides: its elements stay in their order.

// CHECK-LABEL: func.func @returned
// CHECK-SAME: tensor<8x2xf32> {jogak.name = "qkv", jogak.role = "parameter"}
func.func @returned(%w: tensor<8x2xf32> {jogak.name = "qkv", jogak.role = "parameter"}) -> (tensor<4x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<8x2xf32>) {
  // expected-remark @below {{'qkv' is taken apart into unequal pieces (4, 2, 2) and keeps its shape}}
  %q = tensor.extract_slice %w[0, 0] [4, 2] [1, 1] : tensor<8x2xf32> to tensor<4x2xf32>
  %k = tensor.extract_slice %w[4, 0] [2, 2] [1, 1] : tensor<8x2xf32> to tensor<2x2xf32>
  %v = tensor.extract_slice %w[6, 0] [2, 2] [1, 1] : tensor<8x2xf32> to tensor<2x2xf32>
  return %q, %k, %v, %w : tensor<4x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<8x2xf32>
}

// -----

#row = affine_map<(d0) -> (d0)>

// An op counts the rows (as a hash of random numbers does): they stay in their order.

// CHECK-LABEL: func.func @counted
// CHECK-SAME: tensor<8xf32> {jogak.name = "b", jogak.role = "parameter"}
func.func @counted(%b: tensor<8xf32> {jogak.name = "b", jogak.role = "parameter"}) -> (tensor<4xf32>, tensor<2xf32>, tensor<2xf32>) {
  %e = tensor.empty() : tensor<8xf32>
  %y = linalg.generic {indexing_maps = [#row, #row], iterator_types = ["parallel"]} ins(%b : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = linalg.index 0 : index
    %1 = arith.index_cast %0 : index to i32
    %2 = arith.sitofp %1 : i32 to f32
    %3 = arith.addf %in, %2 : f32
    linalg.yield %3 : f32
  } -> tensor<8xf32>
  // expected-remark @below {{'b' is taken apart into unequal pieces (4, 2, 2) and keeps its shape}}
  %q = tensor.extract_slice %y[0] [4] [1] : tensor<8xf32> to tensor<4xf32>
  %k = tensor.extract_slice %y[4] [2] [1] : tensor<8xf32> to tensor<2xf32>
  %v = tensor.extract_slice %y[6] [2] [1] : tensor<8xf32> to tensor<2xf32>
  return %q, %k, %v : tensor<4xf32>, tensor<2xf32>, tensor<2xf32>
}

// -----

// What is stored as shares already is left as it is.

// CHECK-LABEL: func.func @again
// CHECK-SAME: tensor<2x4xf32> {jogak.logical_shape = array<i64: 8>, jogak.name = "b", jogak.role = "parameter", jogak.shares = [array<i64: 2, 1, 1>]}
func.func @again(%b: tensor<2x4xf32> {jogak.logical_shape = array<i64: 8>, jogak.name = "b", jogak.role = "parameter", jogak.shares = [array<i64: 2, 1, 1>]}) -> (tensor<2x2xf32>, tensor<2x1xf32>, tensor<2x1xf32>) {
  %q = tensor.extract_slice %b[0, 0] [2, 2] [1, 1] : tensor<2x4xf32> to tensor<2x2xf32>
  %k = tensor.extract_slice %b[0, 2] [2, 1] [1, 1] : tensor<2x4xf32> to tensor<2x1xf32>
  %v = tensor.extract_slice %b[0, 3] [2, 1] [1, 1] : tensor<2x4xf32> to tensor<2x1xf32>
  return %q, %k, %v : tensor<2x2xf32>, tensor<2x1xf32>, tensor<2x1xf32>
}
