// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-schedule)' | FileCheck %s

// Two large values need not be alive at once.

// CHECK-LABEL: func.func @two
// CHECK: tensor.concat
// CHECK: tensor.extract_slice
// CHECK: tensor.concat
// CHECK: tensor.extract_slice
func.func @two(%x: tensor<8x8xf32>) -> (tensor<16x1xf32>, tensor<8x2xf32>) {
  %a = tensor.concat dim(0) %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<16x8xf32>
  %b = tensor.concat dim(1) %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x16xf32>
  %c = tensor.extract_slice %a[0, 3] [16, 1] [1, 1] : tensor<16x8xf32> to tensor<16x1xf32>
  %d = tensor.extract_slice %b[0, 3] [8, 2] [1, 1] : tensor<8x16xf32> to tensor<8x2xf32>
  return %c, %d : tensor<16x1xf32>, tensor<8x2xf32>
}

// -----

// Nothing to gain: the order stays.

// CHECK-LABEL: func.func @stays
// CHECK: tensor.concat dim(0)
// CHECK-NEXT: tensor.concat dim(1)
func.func @stays(%x: tensor<8x8xf32>) -> (tensor<16x8xf32>, tensor<8x16xf32>) {
  %a = tensor.concat dim(0) %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<16x8xf32>
  %b = tensor.concat dim(1) %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x16xf32>
  return %a, %b : tensor<16x8xf32>, tensor<8x16xf32>
}
