// expected-error @+1 {{never said}}
func.func @main() {
  return
}
