// RUN: jogak-opt %s | FileCheck %s
// RUN: jogak-opt %s --mlir-elide-elementsattrs-if-larger=-1 | FileCheck %s --check-prefix=FULL
// RUN: jogak-opt %s --verify-roundtrip --mlir-print-debuginfo | FileCheck %s --check-prefix=DEBUG

// Large constants are elided unless the text is to be read back.

// CHECK: dense_resource<__elided__> : tensor<17xi8>
// FULL: dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]> : tensor<17xi8>
// DEBUG: loc(
func.func @main() -> tensor<17xi8> {
  %0 = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]> : tensor<17xi8>
  return %0 : tensor<17xi8>
}
