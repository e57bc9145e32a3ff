// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-rematerialize{memory=20KiB},canonicalize)' --verify-diagnostics | FileCheck %s

// Five terms of 4 KiB, a result, and an argument of 4 KiB do not fit 20 KiB; added one by one they do.

// CHECK-LABEL: func.func @sum
// CHECK-DAG: %[[A:.*]] = tensor.pad %{{.*}} low[0, 0] high[2, 0]
// CHECK-DAG: %[[B:.*]] = tensor.pad %{{.*}} low[1, 0] high[1, 0]
// CHECK: %[[AB:.*]] = linalg.generic {{.*}} ins(%[[A]], %[[B]] :
// CHECK: %[[C:.*]] = tensor.pad %{{.*}} low[2, 0] high[0, 0]
// CHECK: linalg.generic {{.*}} ins(%[[AB]], %[[C]] :
#map = affine_map<(d0, d1) -> (d0, d1)>
func.func @sum(%x: tensor<30x32xf32>) -> tensor<32x32xf32> {
  %zero = arith.constant 0.0 : f32
  %a = tensor.pad %x low[0, 0] high[2, 0] {
  ^bb0(%i: index, %j: index):
    tensor.yield %zero : f32
  } : tensor<30x32xf32> to tensor<32x32xf32>
  %b = tensor.pad %x low[1, 0] high[1, 0] {
  ^bb0(%i: index, %j: index):
    tensor.yield %zero : f32
  } : tensor<30x32xf32> to tensor<32x32xf32>
  %c = tensor.pad %x low[2, 0] high[0, 0] {
  ^bb0(%i: index, %j: index):
    tensor.yield %zero : f32
  } : tensor<30x32xf32> to tensor<32x32xf32>
  %y = tensor.extract_slice %x[0, 0] [30, 31] [1, 1] : tensor<30x32xf32> to tensor<30x31xf32>
  %d = tensor.pad %y low[2, 1] high[0, 0] {
  ^bb0(%i: index, %j: index):
    tensor.yield %zero : f32
  } : tensor<30x31xf32> to tensor<32x32xf32>
  %f = tensor.pad %y low[1, 1] high[1, 0] {
  ^bb0(%i: index, %j: index):
    tensor.yield %zero : f32
  } : tensor<30x31xf32> to tensor<32x32xf32>
  %e = tensor.empty() : tensor<32x32xf32>
  %r = linalg.generic {
    indexing_maps = [#map, #map, #map, #map, #map, #map], iterator_types = ["parallel", "parallel"]
  } ins(%a, %b, %c, %d, %f : tensor<32x32xf32>, tensor<32x32xf32>, tensor<32x32xf32>, tensor<32x32xf32>, tensor<32x32xf32>)
    outs(%e : tensor<32x32xf32>) {
  ^bb0(%0: f32, %1: f32, %2: f32, %3: f32, %4: f32, %out: f32):
    %5 = arith.addf %0, %1 : f32
    %6 = arith.addf %5, %2 : f32
    %7 = arith.addf %6, %3 : f32
    %8 = arith.addf %7, %4 : f32
    linalg.yield %8 : f32
  } -> tensor<32x32xf32>
  return %r : tensor<32x32xf32>
}
