func.func @main() -> i32 {
  return %missing : i32
}
