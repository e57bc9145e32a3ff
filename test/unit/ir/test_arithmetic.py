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
AVERAGE = """%big = arith.constant 0.9 : f32\n %low = arith.constant 0.1 : f32
 %p = arith.mulf %x, %big : f32\n %q = arith.mulf %y, %low : f32
 %s = arith.addf %p, %q : f32\n linalg.yield %s : f32"""
SQUARES = """%big = arith.constant 0.9 : f32\n %low = arith.constant 0.2 : f32\n %p = arith.mulf %x, %big : f32
 %q = arith.mulf %y, %y : f32\n %r = arith.mulf %q, %low : f32\n %s = arith.addf %p, %r : f32\n linalg.yield %s : f32"""
USED_TWICE = """%low = arith.constant 0.1 : f32\n %p = arith.mulf %y, %low : f32\n %s = arith.addf %x, %p : f32
 %t = arith.mulf %s, %p : f32\n linalg.yield %t : f32"""
FROM_A_PRODUCT = """%low = arith.constant 0.1 : f32\n %p = arith.mulf %y, %low : f32\n %s = arith.subf %p, %x : f32
 linalg.yield %s : f32"""
RECTIFIER = """%low = arith.constant 0.0 : f32\n %p = arith.cmpf ugt, %x, %low : f32
 %s = arith.select %p, %x, %low : f32\n linalg.yield %s : f32"""
LARGER = "%p = arith.cmpf ogt, %x, %y : f32\n %s = arith.select %p, %x, %y : f32\n linalg.yield %s : f32"
MASK = """%low = arith.constant 0.5 : f32\n %p = arith.cmpf ogt, %x, %low : f32
 %s = arith.select %p, %y, %x : f32\n linalg.yield %s : f32"""
CHOSEN = """%low = arith.constant 0.0 : f32\n %i = linalg.index 1 : index\n %j = arith.index_cast %i : index to i64
 %t = arith.fptosi %y : f32 to i64\n %p = arith.cmpi eq, %t, %j : i64\n %q = arith.select %p, %x, %low : f32
 %s = arith.addf %q, %acc : f32\n linalg.yield %s : f32"""
LEFT_ELSE = CHOSEN.replace("%x, %low : f32\n", "%low, %x : f32\n")
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

PAIR = (["4xf32"] * 2, "4xf32", ["(m) -> (m)"] * 3, "p")
CLASSES = (["4x8xf32", "4xf32"], "4xf32", ["(m,k)->(m,k)", "(m,k)->(m)", "(m,k)->(m)"], "pr")
PASSES = {
    "a moving average": (generic(*PAIR, AVERAGE), 1, 1.0),
    "a scaled square is added": (generic(*PAIR, SQUARES), 2, 2.0),
    "a product that is read twice": (generic(*PAIR, USED_TWICE), 3, 3.0),
    "a difference from a product": (generic(*PAIR, FROM_A_PRODUCT), 2, 2.0),
    "a rectifier": (generic(["4xf32"], "4xf32", ["(m) -> (m)"] * 2, "p", RECTIFIER), 1, 1.0),
    "the larger of two": (generic(*PAIR, LARGER), 1, 1.0),
    "a mask of one and a choice of another": (generic(*PAIR, MASK), 2, 2.0),
    "the element of a class is gathered": (generic(*CLASSES, CHOSEN), 4, 4 / 8),
    "all elements but that of a class": (generic(*CLASSES, LEFT_ELSE), 4, 2 + 2 / 8),
}


@pytest.mark.parametrize("name", PASSES)
def test_passes_of_an_engine_without_a_compiler(name):
    text, steps, passes = PASSES[name]
    with new_context():
        module = ir.Module.parse(text)
        main = module.body.operations[0]
        op = next(each for each in main.regions[0].blocks[0].operations if each.operation.name == "linalg.generic")
        found = arithmetic_of(op.operation)
    assert (found.steps, found.passes) == (steps, pytest.approx(passes))


@pytest.mark.parametrize("name", CASES)
def test_arithmetic(name):
    text, expected = CASES[name]
    with new_context():
        module = ir.Module.parse(text)
        main = module.body.operations[0]
        op = next(each for each in main.regions[0].blocks[0].operations if each.operation.name == "linalg.generic")
        assert arithmetic_of(op.operation) == expected
