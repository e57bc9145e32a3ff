// RUN: jogak-opt %s --pass-pipeline='builtin.module(func.func(cse),jogak-strip-asserts,canonicalize)' | FileCheck %s

// A Python pass between two C++ passes of MLIR, one of them nested in functions.

// CHECK-LABEL: func.func @main
// CHECK-SAME: (%[[A:.*]]: i1)
// CHECK-NEXT: return %[[A]], %[[A]] : i1, i1
func.func @main(%a: i1) -> (i1, i1) {
  %true = arith.constant true
  %0 = arith.andi %a, %true : i1
  %1 = arith.andi %a, %true : i1
  cf.assert %0, "always"
  return %0, %1 : i1, i1
}
