// RUN: jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-annotate-scratch{target=torch})' | FileCheck %s
// RUN: not jogak-opt %s --split-input-file --pass-pipeline='builtin.module(jogak-annotate-scratch{target=tors})' 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// UNKNOWN: tors

#row = affine_map<(d0, d1) -> (d0)>
#all = affine_map<(d0, d1) -> (d0, d1)>

// The exponentials are 1024 bytes before they are summed; the sum, a buffer of 64, counts by itself.

// CHECK-LABEL: func.func @main
// CHECK: linalg.generic {{.*}}jogak.scratch = 976 : i64
func.func @main(%x: tensor<4x64xf32>) -> tensor<4xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  %s = linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<4x64xf32>) outs(%init : tensor<4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    %1 = arith.addf %out, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<4xf32>
  return %s : tensor<4xf32>
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>

// One call makes the result and nothing else.

// CHECK-LABEL: func.func @main
// CHECK-NOT: jogak.scratch
func.func @main(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %e = tensor.empty() : tensor<4x64xf32>
  %s = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<4x64xf32>) outs(%e : tensor<4x64xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = math.exp %in : f32
    linalg.yield %0 : f32
  } -> tensor<4x64xf32>
  return %s : tensor<4x64xf32>
}
