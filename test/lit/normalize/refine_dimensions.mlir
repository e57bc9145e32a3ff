// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-refine-dimensions,canonicalize)' | FileCheck %s

#a = affine_map<(d0, d1, d2) -> (d0, d2)>
#b = affine_map<(d0, d1, d2) -> (d1, d2)>
#c = affine_map<(d0, d1, d2) -> (d0, d1)>

// A contraction over [batch * sequence] between two reshapes gets loops of batch and of sequence, and heads of its own.

// CHECK-LABEL: func.func @heads
// CHECK-SAME: (%[[X:.*]]: tensor<2x3x8xf32>, %[[W:.*]]: tensor<20x8xf32>)
// CHECK: %[[V:.*]] = tensor.expand_shape %[[W]] {{.*}} output_shape [4, 5, 8]
// CHECK: %[[R:.*]] = linalg.generic
// CHECK-SAME: iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]
// CHECK-SAME: ins(%[[X]], %[[V]] :
// CHECK: return %[[R]] : tensor<2x3x4x5xf32>
func.func @heads(%x: tensor<2x3x8xf32>, %w: tensor<20x8xf32>) -> tensor<2x3x4x5xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<6x20xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<6x20xf32>) -> tensor<6x20xf32>
  %flat = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x3x8xf32> into tensor<6x8xf32>
  %y = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} ins(%flat, %w : tensor<6x8xf32>, tensor<20x8xf32>) outs(%f : tensor<6x20xf32>) {
  ^bb0(%in: f32, %in2: f32, %out: f32):
    %0 = arith.mulf %in, %in2 : f32
    %1 = arith.addf %0, %out : f32
    linalg.yield %1 : f32
  } -> tensor<6x20xf32>
  %r = tensor.expand_shape %y [[0, 1], [2, 3]] output_shape [2, 3, 4, 5] : tensor<6x20xf32> into tensor<2x3x4x5xf32>
  return %r : tensor<2x3x4x5xf32>
}

// -----

#in = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d4, d2 * 2 + d5, d3 * 2 + d6)>
#w = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d1, d4, d5, d6)>
#out = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>

// The window of a 1x1 convolution vanishes; its stride stays. The batch of one vanishes too.

// CHECK: affine_map<(d0, d1, d2, d3) -> (d3, d1 * 2, d2 * 2)>
// CHECK-LABEL: func.func @pointwise
// CHECK: iterator_types = ["parallel", "parallel", "parallel", "reduction"]
// CHECK-SAME: tensor<3x8x8xf32>, tensor<5x3xf32>
func.func @pointwise(%x: tensor<1x3x8x8xf32>, %k: tensor<5x3x1x1xf32>) -> tensor<1x5x4x4xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x5x4x4xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<1x5x4x4xf32>) -> tensor<1x5x4x4xf32>
  %y = linalg.generic {indexing_maps = [#in, #w, #out], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]} ins(%x, %k : tensor<1x3x8x8xf32>, tensor<5x3x1x1xf32>) outs(%f : tensor<1x5x4x4xf32>) {
  ^bb0(%in: f32, %in2: f32, %out: f32):
    %0 = arith.mulf %in, %in2 : f32
    %1 = arith.addf %0, %out : f32
    linalg.yield %1 : f32
  } -> tensor<1x5x4x4xf32>
  return %y : tensor<1x5x4x4xf32>
}

// -----

#id = affine_map<(d0) -> (d0)>

// An index of a cut loop is put together from its pieces.

// CHECK-LABEL: func.func @index
// CHECK: %[[I:.*]] = linalg.index 0
// CHECK: %[[J:.*]] = linalg.index 1
// CHECK: %[[S:.*]] = arith.muli %[[I]], %c3
// CHECK: arith.addi %[[S]], %[[J]]
func.func @index() -> tensor<2x3xindex> {
  %e = tensor.empty() : tensor<6xindex>
  %y = linalg.generic {indexing_maps = [#id], iterator_types = ["parallel"]} outs(%e : tensor<6xindex>) {
  ^bb0(%out: index):
    %0 = linalg.index 0 : index
    linalg.yield %0 : index
  } -> tensor<6xindex>
  %r = tensor.expand_shape %y [[0, 1]] output_shape [2, 3] : tensor<6xindex> into tensor<2x3xindex>
  return %r : tensor<2x3xindex>
}

// -----

#id = affine_map<(d0) -> (d0)>

// 2 x 3 on one side and 3 x 2 on the other: one reshape has to stay.

// CHECK-LABEL: func.func @contradiction
// CHECK: math.exp
// CHECK: tensor.collapse_shape
// CHECK: tensor.expand_shape
func.func @contradiction(%x: tensor<2x3xf32>) -> tensor<3x2xf32> {
  %e = tensor.empty() : tensor<6xf32>
  %f = tensor.collapse_shape %x [[0, 1]] : tensor<2x3xf32> into tensor<6xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]} ins(%f : tensor<6xf32>) outs(%e : tensor<6xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<6xf32>
  %r = tensor.expand_shape %y [[0, 1]] output_shape [3, 2] : tensor<6xf32> into tensor<3x2xf32>
  return %r : tensor<3x2xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>

// Nothing to do.

// CHECK-LABEL: func.func @nothing
// CHECK-NEXT: tensor.empty
// CHECK-NEXT: linalg.generic
// CHECK-NOT: shape
func.func @nothing(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %e = tensor.empty() : tensor<2x3xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<2x3xf32>) outs(%e : tensor<2x3xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<2x3xf32>
  return %y : tensor<2x3xf32>
}
