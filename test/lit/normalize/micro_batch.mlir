// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-micro-batch{count=2},canonicalize,cse)' | FileCheck %s

#id = affine_map<(d0) -> (d0)>
#sum = affine_map<(d0) -> ()>
#none = affine_map<() -> ()>

// Every second row is a micro-batch; each has its forward and backward pass, the update comes once.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[W:[^:]*]]: tensor<f32>
// CHECK-SAME: %[[X:[^:]*]]: tensor<8xf32>
// CHECK: %[[G:.*]] = tensor.expand_shape %[[X]]
// CHECK-SAME: tensor<8xf32> into tensor<4x2xf32>
// CHECK: %[[A:.*]] = tensor.extract_slice %[[G]][0, 0] [4, 1] [1, 1] {jogak.micro_batch = array<i64: 0
// CHECK: %[[GA:.*]] = linalg.generic
// CHECK-SAME: ins(%[[A]], %[[W]] : tensor<4xf32>, tensor<f32>)
// CHECK-SAME: jogak.micro_batch = array<i64: 0
// CHECK: %[[B:.*]] = tensor.extract_slice %[[G]][0, 1] [4, 1] [1, 1] {jogak.micro_batch = array<i64: 1
// CHECK: %[[GB:.*]] = linalg.generic
// CHECK-SAME: ins(%[[B]], %[[W]] : tensor<4xf32>, tensor<f32>)
// CHECK: %[[T:.*]] = linalg.generic
// CHECK-SAME: ins(%[[GA]], %[[GB]] : tensor<f32>, tensor<f32>)
// CHECK: arith.addf
// CHECK: %[[U:.*]] = linalg.generic
// CHECK-SAME: ins(%[[W]], %[[T]] :
// CHECK-NOT: jogak.micro_batch
// CHECK: return %[[U]]
func.func @main(
    %w: tensor<f32> {jogak.name = "w", jogak.role = "parameter"}, %x: tensor<8xf32> {jogak.name = "x", jogak.role = "input"})
    -> (tensor<f32> {jogak.name = "w", jogak.role = "update", jogak.updates = 0 : i64}) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %e = tensor.empty() : tensor<f32>
  %g = linalg.generic {indexing_maps = [#id, #sum, #sum], iterator_types = ["reduction"]} ins(%x, %w : tensor<8xf32>, tensor<f32>) outs(%zero : tensor<f32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<f32>
  %u = linalg.generic {indexing_maps = [#none, #none, #none], iterator_types = []} ins(%w, %g : tensor<f32>, tensor<f32>) outs(%e : tensor<f32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.subf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<f32>
  return %u : tensor<f32>
}

// -----

#id = affine_map<(d0) -> (d0)>
#sum = affine_map<(d0) -> ()>

// What knows its position in the batch is cut into stretches.

// CHECK-LABEL: func.func @main
// CHECK-NOT: tensor.expand_shape
// CHECK: tensor.extract_slice %{{.*}}[0] [4] [1]
// CHECK: linalg.index 0
// CHECK: tensor.extract_slice %{{.*}}[4] [4] [1]
// CHECK: linalg.index 0
// CHECK: arith.addi %{{.*}}, %c4
func.func @main(
    %w: tensor<f32> {jogak.name = "w", jogak.role = "parameter"}, %x: tensor<8xf32> {jogak.name = "x", jogak.role = "input"})
    -> (tensor<f32> {jogak.name = "w", jogak.role = "update", jogak.updates = 0 : i64}) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %g = linalg.generic {indexing_maps = [#id, #sum], iterator_types = ["reduction"]} ins(%x : tensor<8xf32>) outs(%zero : tensor<f32>) {
  ^bb0(%a: f32, %o: f32):
    %i = linalg.index 0 : index
    %n = arith.index_cast %i : index to i64
    %f = arith.sitofp %n : i64 to f32
    %0 = arith.mulf %a, %f : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<f32>
  return %g : tensor<f32>
}
