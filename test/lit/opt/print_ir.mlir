// RUN: jogak-opt %s --pass-pipeline='cse,canonicalize' --mlir-print-ir-before=cse --mlir-print-ir-after-all -o %t 2>&1 | FileCheck %s
// RUN: jogak-opt %s --pass-pipeline='cse,canonicalize,cse' --mlir-print-ir-after-change -o %t 2>&1 | FileCheck %s --check-prefix=CHANGE
// RUN: not jogak-opt %s --pass-pipeline='cse,func.func(inline)' --mlir-print-ir-after-failure 2>&1 | FileCheck %s --check-prefix=FAILURE

// CHECK: IR Dump Before cse
// CHECK: arith.addi %arg0, %arg0
// CHECK: arith.addi %arg0, %arg0
// CHECK: IR Dump After cse
// CHECK: arith.addi %arg0, %arg0
// CHECK-NOT: arith.addi %arg0, %arg0
// CHECK: IR Dump After canonicalize

// CHANGE: IR Dump After cse
// CHANGE-NOT: IR Dump

// FAILURE: IR Dump After inline Failed
// FAILURE-NOT: IR Dump
func.func @main(%a: i32) -> (i32, i32) {
  %0 = arith.addi %a, %a : i32
  %1 = arith.addi %a, %a : i32
  return %0, %1 : i32, i32
}
