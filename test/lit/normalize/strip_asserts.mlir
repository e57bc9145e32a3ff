// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-strip-asserts,canonicalize)' | FileCheck %s

// The assertion goes, and with it what computed its condition.

// CHECK-LABEL: func.func @gather
// CHECK-NOT: cf.assert
// CHECK-NOT: arith.cmpi
// CHECK: tensor.extract
func.func @gather(%table: tensor<8xf32>, %indices: tensor<4xi64>) -> tensor<4xf32> {
  %c8 = arith.constant 8 : index
  %e = tensor.empty() : tensor<4xf32>
  %0 = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%indices : tensor<4xi64>) outs(%e : tensor<4xf32>) {
  ^bb0(%in: i64, %out: f32):
    %i = arith.index_cast %in : i64 to index
    %ok = arith.cmpi slt, %i, %c8 : index
    cf.assert %ok, "index must be smaller than dim size"
    %x = tensor.extract %table[%i] : tensor<8xf32>
    linalg.yield %x : f32
  } -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// CHECK-LABEL: func.func @nothing
// CHECK-NEXT: return
func.func @nothing(%a: tensor<4xf32>) -> tensor<4xf32> {
  return %a : tensor<4xf32>
}
