"""What one iteration of an op does, as the cost model sees it."""

from __future__ import annotations

import pytest
from torch_mlir import ir

from jogak.cost.kernel import Arithmetic, Form
from jogak.ir.context import new_context
from jogak.ir.structured import arithmetic_of

GENERIC = """
func.func @main({arguments}) -> tensor<{result}> {{
  %empty = tensor.empty() : tensor<{result}>
  %0 = linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}}
      ins({inputs}) outs(%empty : tensor<{result}>) {{
  ^bb0({block}, %acc: f32):
{body}
  }} -> tensor<{result}>
  return %0 : tensor<{result}>
}}
"""
EXPONENTIAL = "%e = math.exp %x : f32\n %s = arith.addf %e, %x : f32\n linalg.yield %s : f32"
LOGARITHM = "%l = math.log %y : f32\n %s = arith.subf %x, %l : f32\n linalg.yield %s : f32"
PRODUCTS = "%m = arith.mulf %x, %y : f32\n %s = arith.addf %m, %acc : f32\n linalg.yield %s : f32"


def generic(shapes: list[str], result: str, maps: list[str], kinds: str, body: str) -> str:
    names = "abc"[: len(shapes)]
    return GENERIC.format(
        arguments=", ".join(f"%{n}: tensor<{s}>" for n, s in zip(names, shapes, strict=True)),
        inputs=", ".join(f"%{n}" for n in names) + " : " + ", ".join(f"tensor<{s}>" for s in shapes),
        block=", ".join(f"%{n}: f32" for n in "xyz"[: len(shapes)]),
        maps=", ".join(f"affine_map<{m}>" for m in maps),
        kinds=", ".join(f'"{"parallel" if k == "p" else "reduction"}"' for k in kinds),
        result=result,
        body=body,
    )


CASES = {
    "matmul": (
        generic(
            ["4x8xf32", "8x6xf32"], "4x6xf32", ["(m,n,k)->(m,k)", "(m,n,k)->(k,n)", "(m,n,k)->(m,n)"], "ppr", PRODUCTS
        ),
        Arithmetic(Form.CONTRACTION, 2, 0, 2, 2),
    ),
    "convolution": (
        generic(
            ["4x9xf32", "4x6x3xf32"],
            "6x7xf32",
            ["(o,w,c,r)->(c,w+r)", "(o,w,c,r)->(c,o,r)", "(o,w,c,r)->(o,w)"],
            "pprr",
            PRODUCTS,
        ),
        Arithmetic(Form.CONVOLUTION, 2, 0, 2, 2),
    ),
    "a sum of squares is no contraction": (
        generic(["4x8xf32", "4x8xf32"], "4xf32", ["(m,k)->(m,k)", "(m,k)->(m,k)", "(m,k)->(m)"], "pr", PRODUCTS),
        Arithmetic(Form.VECTOR, 2, 0, 2, 2),
    ),
    "what is the same for a whole row is computed once": (
        generic(["4x8xf32", "4xf32"], "4x8xf32", ["(m,k)->(m,k)", "(m,k)->(m)", "(m,k)->(m,k)"], "pp", LOGARITHM),
        Arithmetic(Form.VECTOR, 2, 1 / 8, 2, 1 + 1 / 8),
    ),
    "exponentials are special": (
        generic(["4xf32"], "4xf32", ["(m) -> (m)"] * 2, "p", EXPONENTIAL),
        Arithmetic(Form.VECTOR, 2, 1, 2, 2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_arithmetic(name):
    text, expected = CASES[name]
    with new_context():
        module = ir.Module.parse(text)
        main = module.body.operations[0]
        op = next(each for each in main.regions[0].blocks[0].operations if each.operation.name == "linalg.generic")
        assert arithmetic_of(op.operation) == expected
