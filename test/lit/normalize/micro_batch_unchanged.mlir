// RUN: jogak-opt %s --pass-pipeline='builtin.module(jogak-micro-batch{count=1})' | FileCheck %s

// One micro-batch is the program itself.

// CHECK-LABEL: func.func @main
// CHECK-NEXT: return %arg0
func.func @main(%w: tensor<f32> {jogak.name = "w", jogak.role = "parameter"}, %x: tensor<8xf32> {jogak.name = "x", jogak.role = "input"})
    -> (tensor<f32> {jogak.name = "w", jogak.role = "update", jogak.updates = 0 : i64}) {
  return %w : tensor<f32>
}
