// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-merge-slices,canonicalize)' | FileCheck %s

// CHECK-LABEL: func.func @crop
// CHECK-SAME: (%[[X:.*]]: tensor<4x4xf32>)
// CHECK-NEXT: %[[S:.*]] = tensor.extract_slice %[[X]][1, 1] [2, 2] [1, 1]
// CHECK-NEXT: return %[[S]]
func.func @crop(%x: tensor<4x4xf32>) -> tensor<2x2xf32> {
  %a = tensor.extract_slice %x[1, 0] [2, 4] [1, 1] : tensor<4x4xf32> to tensor<2x4xf32>
  %b = tensor.extract_slice %a[0, 1] [2, 2] [1, 1] : tensor<2x4xf32> to tensor<2x2xf32>
  return %b : tensor<2x2xf32>
}

// -----

// CHECK-LABEL: func.func @strided
// CHECK-COUNT-2: tensor.extract_slice
func.func @strided(%x: tensor<8xf32>) -> tensor<2xf32> {
  %a = tensor.extract_slice %x[0] [4] [2] : tensor<8xf32> to tensor<4xf32>
  %b = tensor.extract_slice %a[1] [2] [1] : tensor<4xf32> to tensor<2xf32>
  return %b : tensor<2xf32>
}
