// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-isolate-gathers,canonicalize)' | FileCheck %s

#b = affine_map<(d0, d1) -> (d0)>
#id = affine_map<(d0, d1) -> (d0, d1)>

// Two gathers and an addition become a gather, a plain read of the first rows of the second table, and an addition.

// CHECK-LABEL: func.func @embeddings
// CHECK-SAME: (%[[TOKENS:.*]]: tensor<4xi64>, %[[WTE:.*]]: tensor<16x8xf32>, %[[WPE:.*]]: tensor<6x8xf32>)
// CHECK: %[[G:.*]] = linalg.generic {{.*}} ins(%[[TOKENS]]
// CHECK: %[[X:.*]] = tensor.extract %[[WTE]]
// CHECK-NEXT: linalg.yield %[[X]]
// CHECK: %[[R:.*]] = tensor.extract_slice %[[WPE]][0, 0] [4, 8] [1, 1]
// CHECK-NOT: tensor.extract %
// CHECK: ins(%[[G]], %[[R]] :
// CHECK: arith.addf
func.func @embeddings(%tokens: tensor<4xi64>, %wte: tensor<16x8xf32>, %wpe: tensor<6x8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = linalg.generic {indexing_maps = [#b, #id], iterator_types = ["parallel", "parallel"]} ins(%tokens : tensor<4xi64>) outs(%e : tensor<4x8xf32>) {
  ^bb0(%in: i64, %out: f32):
    %t = arith.index_cast %in : i64 to index
    %i = linalg.index 0 : index
    %d = linalg.index 1 : index
    %x = tensor.extract %wte[%t, %d] : tensor<16x8xf32>
    %y = tensor.extract %wpe[%i, %d] : tensor<6x8xf32>
    %z = arith.addf %x, %y : f32
    linalg.yield %z : f32
  } -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>

// Indices that are just loops: an operand, sliced.

// CHECK-LABEL: func.func @positions
// CHECK: %[[S:.*]] = tensor.extract_slice %{{.*}}[0, 0] [4, 8] [1, 1]
// CHECK-NOT: tensor.extract %
// CHECK: return %[[S]]
func.func @positions(%wpe: tensor<6x8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]} outs(%e : tensor<4x8xf32>) {
  ^bb0(%out: f32):
    %i = linalg.index 0 : index
    %d = linalg.index 1 : index
    %y = tensor.extract %wpe[%i, %d] : tensor<6x8xf32>
    linalg.yield %y : f32
  } -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

#b = affine_map<(d0, d1) -> (d0)>
#id = affine_map<(d0, d1) -> (d0, d1)>

// A gather that is alone stays as it is.

// CHECK-LABEL: func.func @alone
// CHECK-COUNT-1: linalg.generic
// CHECK-NOT: linalg.generic
func.func @alone(%tokens: tensor<4xi64>, %wte: tensor<16x8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = linalg.generic {indexing_maps = [#b, #id], iterator_types = ["parallel", "parallel"]} ins(%tokens : tensor<4xi64>) outs(%e : tensor<4x8xf32>) {
  ^bb0(%in: i64, %out: f32):
    %t = arith.index_cast %in : i64 to index
    %d = linalg.index 1 : index
    %x = tensor.extract %wte[%t, %d] : tensor<16x8xf32>
    linalg.yield %x : f32
  } -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}
