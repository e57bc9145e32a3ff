// RUN: jogak-opt %s --pass-pipeline='cse,jogak-strip-asserts' --mlir-timing -o %t 2>&1 | FileCheck %s
// RUN: jogak-opt %s --pass-pipeline='cse' --mlir-timing --mlir-output-format=json -o %t 2> %t.json
// RUN: %python -c "import json, sys; names = [row['name'] for row in json.load(open(sys.argv[1]))]; print(names)" %t.json | FileCheck %s --check-prefix=JSON

// CHECK: Execution time report
// CHECK: Parser
// CHECK-NEXT: cse
// CHECK-NEXT: jogak-strip-asserts
// CHECK-NEXT: Output
// CHECK: Total

// JSON: ['Context', 'Parser', 'cse', 'Output', 'Rest', 'Total']
func.func @main() {
  return
}
