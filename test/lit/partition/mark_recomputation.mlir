// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-mark-recomputation,canonicalize,cse)' | FileCheck %s

#id = affine_map<(d0) -> (d0)>
#flat = affine_map<(d0, d1) -> (d0, d1)>

// The second exponential is computed again: CSE would make one of both. A reshape on the way is marked, too.

// CHECK-LABEL: func.func @again
// CHECK-NOT: optimization_barrier
// CHECK: linalg.generic
// CHECK-NOT: recompute
// CHECK: math.exp
// CHECK: linalg.generic
// CHECK-SAME: jogak.recompute = -1 : i64, jogak.recompute_of = "linalg.generic at
// CHECK: math.exp
// CHECK: tensor.expand_shape
// CHECK-SAME: jogak.recompute = -2 : i64
// CHECK: linalg.generic
// CHECK-SAME: jogak.recompute = -3 : i64
// CHECK: math.exp
func.func @again(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<2x2xf32>) {
  %e = tensor.empty() : tensor<4xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%a: f32, %out: f32):
    %6 = math.exp %a : f32
    linalg.yield %6 : f32
  } -> tensor<4xf32>
  %1 = "util.optimization_barrier"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%1 : tensor<4xf32>) outs(%e : tensor<4xf32>) {
  ^bb0(%a: f32, %out: f32):
    %6 = math.exp %a : f32
    linalg.yield %6 : f32
  } -> tensor<4xf32>
  %3 = tensor.expand_shape %1 [[0, 1]] output_shape [2, 2] : tensor<4xf32> into tensor<2x2xf32>
  %4 = tensor.empty() : tensor<2x2xf32>
  %5 = linalg.generic {indexing_maps = [#flat, #flat], iterator_types = ["parallel", "parallel"]} ins(%3 : tensor<2x2xf32>) outs(%4 : tensor<2x2xf32>) {
  ^bb0(%a: f32, %out: f32):
    %6 = math.exp %a : f32
    linalg.yield %6 : f32
  } -> tensor<2x2xf32>
  return %0, %2, %5 : tensor<4xf32>, tensor<4xf32>, tensor<2x2xf32>
}

// -----

// Nothing is computed again here.

// CHECK-LABEL: func.func @unchanged
// CHECK-NOT: recompute
// CHECK: return %arg0
func.func @unchanged(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}

// -----

// A value that is only returned is not computed: the barrier goes.

// CHECK-LABEL: func.func @returned
// CHECK-NEXT: return %arg0
func.func @returned(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "util.optimization_barrier"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
