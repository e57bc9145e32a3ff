// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-multiply-windows)' | FileCheck %s

#x = affine_map<(n, f, h, w, c, k, l) -> (n, c, h * 2 + k, w * 2 + l)>
#k = affine_map<(n, f, h, w, c, k, l) -> (f, c, k, l)>
#y = affine_map<(n, f, h, w, c, k, l) -> (n, f, h, w)>

// A convolution: the matrix of windows times the filter, which is turned to that; the result is turned back.

// CHECK-DAG: #[[WINDOWS:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d3, d1 * 2 + d4, d2 * 2 + d5)>
// CHECK-DAG: #[[FILTER:.*]] = affine_map<(d0, d1, d2, d3) -> (d3, d0, d1, d2)>
// CHECK-DAG: #[[BACK:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d2, d3, d1)>
// CHECK-LABEL: func.func @convolution
// CHECK-SAME: (%[[X:.*]]: tensor<2x3x9x9xf32>, %[[W:.*]]: tensor<5x3x3x3xf32>)
// CHECK: %[[P:.*]] = linalg.generic {indexing_maps = [#[[WINDOWS]], {{.*}}} ins(%[[X]]
// CHECK: %[[A:.*]] = tensor.collapse_shape %[[P]] {{.*}} into tensor<32x27xf32>
// CHECK: %[[K:.*]] = linalg.generic {indexing_maps = [#[[FILTER]], {{.*}}} ins(%[[W]]
// CHECK: %[[B:.*]] = tensor.collapse_shape %[[K]] {{.*}} into tensor<27x5xf32>
// CHECK: %[[Z:.*]] = linalg.fill
// CHECK: %[[M:.*]] = linalg.matmul ins(%[[A]], %[[B]] : {{.*}} outs(%[[Z]]
// CHECK: %[[E:.*]] = tensor.expand_shape %[[M]]
// CHECK: %[[Y:.*]] = linalg.generic {indexing_maps = [#[[BACK]], {{.*}}} ins(%[[E]]
// CHECK: return %[[Y]]
func.func @convolution(%x: tensor<2x3x9x9xf32>, %w: tensor<5x3x3x3xf32>) -> tensor<2x5x4x4xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<2x5x4x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<2x5x4x4xf32>) -> tensor<2x5x4x4xf32>
  %y = linalg.generic {indexing_maps = [#x, #k, #y], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]}
      ins(%x, %w : tensor<2x3x9x9xf32>, tensor<5x3x3x3xf32>) outs(%init : tensor<2x5x4x4xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %p = arith.mulf %a, %b : f32
    %s = arith.addf %c, %p : f32
    linalg.yield %s : f32
  } -> tensor<2x5x4x4xf32>
  return %y : tensor<2x5x4x4xf32>
}

// -----

#x = affine_map<(c, f, k, n, o) -> (c, n, k + o)>
#g = affine_map<(c, f, k, n, o) -> (n, f, o)>
#w = affine_map<(c, f, k, n, o) -> (c, f, k)>

// The gradient of a weight: a row for each element of the filter.

// CHECK-DAG: #[[WINDOWS:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d2, d1 + d3)>
// CHECK-LABEL: func.func @weight_gradient
// CHECK: linalg.generic {indexing_maps = [#[[WINDOWS]],
// CHECK: linalg.matmul ins(%{{.*}}, %{{.*}} : tensor<12x64xf32>, tensor<64x5xf32>)
func.func @weight_gradient(%x: tensor<4x4x18xf32>, %g: tensor<4x5x16xf32>) -> tensor<4x5x3xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4x5x3xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<4x5x3xf32>) -> tensor<4x5x3xf32>
  %y = linalg.generic {indexing_maps = [#x, #g, #w], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction"]}
      ins(%x, %g : tensor<4x4x18xf32>, tensor<4x5x16xf32>) outs(%init : tensor<4x5x3xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %p = arith.mulf %a, %b : f32
    %s = arith.addf %c, %p : f32
    linalg.yield %s : f32
  } -> tensor<4x5x3xf32>
  return %y : tensor<4x5x3xf32>
}

// -----

#x = affine_map<(g, n, f, o, c, k) -> (n, g, c, o * 2 + k)>
#k = affine_map<(g, n, f, o, c, k) -> (g, f, c, k)>
#y = affine_map<(g, n, f, o, c, k) -> (n, g, f, o)>

// Groups are a batch of products; a widening of the factors stays in the body of the product.

// CHECK-LABEL: func.func @groups
// CHECK: %[[M:.*]] = linalg.batch_matmul ins(%{{.*}}, %{{.*}} : tensor<2x8x6xbf16>, tensor<2x6x3xbf16>) outs(%{{.*}} : tensor<2x8x3xf32>)
func.func @groups(%x: tensor<2x2x2x9xbf16>, %w: tensor<2x3x2x3xbf16>, %init: tensor<2x2x3x4xf32>) -> tensor<2x2x3x4xf32> {
  %y = linalg.generic {indexing_maps = [#x, #k, #y], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction"]}
      ins(%x, %w : tensor<2x2x2x9xbf16>, tensor<2x3x2x3xbf16>) outs(%init : tensor<2x2x3x4xf32>) {
  ^bb0(%a: bf16, %b: bf16, %c: f32):
    %v = arith.extf %a : bf16 to f32
    %u = arith.extf %b : bf16 to f32
    %p = arith.mulf %v, %u : f32
    %s = arith.addf %c, %p : f32
    linalg.yield %s : f32
  } -> tensor<2x2x3x4xf32>
  return %y : tensor<2x2x3x4xf32>
}

// -----

#x = affine_map<(n, f, o, c, k) -> (n, c, o + k)>
#k = affine_map<(n, f, o, c, k) -> (f, c, k)>
#y = affine_map<(n, f, o, c, k) -> (n, f, o)>
#a = affine_map<(m, n, k) -> (m, k)>
#b = affine_map<(m, n, k) -> (k, n)>
#c = affine_map<(m, n, k) -> (m, n)>

// Windows that move by one element along a long row are fast as loops; a matrix product is one already.

// CHECK-LABEL: func.func @unchanged
// CHECK-NOT: linalg.matmul
// CHECK-COUNT-2: arith.mulf
// CHECK-NOT: linalg.matmul
func.func @unchanged(%x: tensor<2x3x18xf32>, %w: tensor<5x3x3xf32>, %y: tensor<2x5x16xf32>,
                     %a: tensor<4x8xf32>, %b: tensor<8x4xf32>, %c: tensor<4x4xf32>) -> (tensor<2x5x16xf32>, tensor<4x4xf32>) {
  %0 = linalg.generic {indexing_maps = [#x, #k, #y], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction"]}
      ins(%x, %w : tensor<2x3x18xf32>, tensor<5x3x3xf32>) outs(%y : tensor<2x5x16xf32>) {
  ^bb0(%p: f32, %q: f32, %r: f32):
    %s = arith.mulf %p, %q : f32
    %t = arith.addf %r, %s : f32
    linalg.yield %t : f32
  } -> tensor<2x5x16xf32>
  %1 = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %b : tensor<4x8xf32>, tensor<8x4xf32>) outs(%c : tensor<4x4xf32>) {
  ^bb0(%p: f32, %q: f32, %r: f32):
    %s = arith.mulf %p, %q : f32
    %t = arith.addf %r, %s : f32
    linalg.yield %t : f32
  } -> tensor<4x4xf32>
  return %0, %1 : tensor<2x5x16xf32>, tensor<4x4xf32>
}

// -----

#x = affine_map<(n, o, k) -> (n, o * 2 + k)>
#k = affine_map<(n, o, k) -> (k)>
#y = affine_map<(n, o, k) -> (n, o)>

// A maximum over windows is no product.

// CHECK-LABEL: func.func @pooling
// CHECK-NOT: linalg.matmul
// CHECK: arith.maximumf
func.func @pooling(%x: tensor<2x9xf32>, %w: tensor<3xf32>, %y: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = linalg.generic {indexing_maps = [#x, #k, #y], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<2x9xf32>, tensor<3xf32>) outs(%y : tensor<2x4xf32>) {
  ^bb0(%p: f32, %q: f32, %r: f32):
    %t = arith.maximumf %r, %p : f32
    linalg.yield %t : f32
  } -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}
