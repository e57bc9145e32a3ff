// RUN: jogak-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(inline))'

// Diagnostics of a C++ pass, of the verifier and of the parser are matched in each part of the file.

// expected-error @below {{was scheduled to run under the inliner}}
func.func @pass() {
  return
}

// -----

func.func @verifier() -> i32 {
  %0 = arith.constant 1 : i64
  // expected-error-re @+1 {{type of return operand {{[0-9]}} ('i64') doesn't match}}
  return %0 : i64
}

// -----

func.func @parser() {
  return %missing : i32
  // expected-error @-1 {{use of undeclared SSA value name}}
}
