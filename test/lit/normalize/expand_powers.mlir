// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-expand-powers)' | FileCheck %s

// CHECK-LABEL: func.func @cube
// CHECK-SAME: (%[[X:.*]]: f32)
// CHECK: %[[S:.*]] = arith.mulf %[[X]], %[[X]] : f32
// CHECK: %[[C:.*]] = arith.mulf %[[X]], %[[S]] : f32
// CHECK: return %[[C]]
func.func @cube(%x: f32) -> f32 {
  %c3 = arith.constant 3 : i64
  %0 = math.fpowi %x, %c3 : f32, i64
  return %0 : f32
}

// -----

// CHECK-LABEL: func.func @square
// CHECK: arith.mulf
// CHECK-NOT: math.powf
func.func @square(%x: f32) -> f32 {
  %c = arith.constant 2.0 : f32
  %0 = math.powf %x, %c : f32
  return %0 : f32
}

// -----

// Roots, large and unknown exponents stay.

// CHECK-LABEL: func.func @others
// CHECK-COUNT-3: math.powf
func.func @others(%x: f32, %y: f32) -> (f32, f32, f32) {
  %half = arith.constant 0.5 : f32
  %many = arith.constant 100.0 : f32
  %0 = math.powf %x, %half : f32
  %1 = math.powf %x, %many : f32
  %2 = math.powf %x, %y : f32
  return %0, %1, %2 : f32, f32, f32
}
