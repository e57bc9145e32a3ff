// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-fold-scalar-casts)' | FileCheck %s

// Two bodies share the rounded constant; integers are cast too.

// CHECK-LABEL: func.func @rounds
// CHECK-DAG: %[[EPS:.*]] = arith.constant 9.99999974E-6 : f32
// CHECK-DAG: %[[THREE:.*]] = arith.constant 3.000000e+00 : f32
// CHECK-NOT: arith.truncf
// CHECK-NOT: arith.sitofp
// CHECK: return %[[EPS]], %[[EPS]], %[[THREE]]
func.func @rounds() -> (f32, f32, f32) {
  %eps = arith.constant 1.0e-05 : f64
  %three = arith.constant 3 : i64
  %0 = arith.truncf %eps : f64 to f32
  %1 = arith.truncf %eps : f64 to f32
  %2 = arith.sitofp %three : i64 to f32
  return %0, %1, %2 : f32, f32, f32
}

// -----

// What is not constant stays.

// CHECK-LABEL: func.func @variable
// CHECK: arith.truncf
func.func @variable(%a: f64) -> f32 {
  %0 = arith.truncf %a : f64 to f32
  return %0 : f32
}
