// RUN: jogak-opt %s --pass-pipeline='builtin.module(jogak-declare-mesh{mesh=2x4})' | FileCheck %s
// RUN: jogak-opt %s --pass-pipeline='builtin.module(jogak-declare-mesh{mesh="row=3,column=2"})' | FileCheck %s --check-prefix=NAMED
// RUN: jogak-opt %s --pass-pipeline='builtin.module(jogak-declare-mesh{mesh=8},jogak-declare-mesh{mesh=2x4})' | FileCheck %s
// RUN: not jogak-opt %s --pass-pipeline='builtin.module(jogak-declare-mesh{mesh="a=2,a=2"})' 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not jogak-opt %s --pass-pipeline='builtin.module(jogak-declare-mesh{mesh=two})' 2>&1 | FileCheck %s --check-prefix=UNREADABLE

// A mesh that was declared before is replaced.

// CHECK: module
// CHECK-NEXT: shard.grid @mesh(shape = 2x4) {jogak.axes = ["data", "model"]}
// CHECK-NEXT: func.func @main
// CHECK-NOT: shard.grid

// NAMED: shard.grid @mesh(shape = 3x2) {jogak.axes = ["row", "column"]}

// TWICE: error: mesh axis 'a' is named twice
// TWICE-NEXT: hint: every axis needs a name of its own

// UNREADABLE: error: mesh 'two': cannot read 'two' as a mesh axis
// UNREADABLE-NEXT: hint: write data=2,model=4

func.func @main(%arg0: tensor<8xf32>) -> tensor<8xf32> {
  return %arg0 : tensor<8xf32>
}
