// RUN: jogak-opt %s --split-input-file --pass-pipeline='cse' | FileCheck %s

// CHECK-LABEL: func.func @first
func.func @first() {
  return
}

// CHECK: // -----
// -----

// CHECK-LABEL: func.func @second
func.func @second() {
  return
}
