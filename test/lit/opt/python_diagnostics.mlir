// RUN: jogak-opt %s --load-plugin=%S/Inputs/tell_plugin.py --pass-pipeline=tell --split-input-file --verify-diagnostics
// RUN: not jogak-opt %s --load-plugin=%S/Inputs/tell_plugin.py --pass-pipeline=tell --split-input-file 2>&1 | FileCheck %s

// Python passes tell and fail as C++ passes do: with a place, and where they fail the rest of the file still runs.

// expected-remark @below {{a function}}
// expected-warning @below {{a doubtful function}}
// expected-note @below {{see here}}
func.func @good() {
  return
}

// -----

// expected-remark @+4 {{a function}}
// expected-warning @+3 {{a doubtful function}}
// expected-note @+2 {{see here}}
// expected-error @+1 {{a bad function}}
func.func @bad() {
  return
}

// CHECK: python_diagnostics.mlir:9: remark: a function
// CHECK-NEXT: python_diagnostics.mlir:9: warning: a doubtful function
// CHECK-NEXT: python_diagnostics.mlir:9: note: see here
// CHECK: python_diagnostics.mlir:19: error: a bad function
// CHECK-NEXT: hint: rename it
