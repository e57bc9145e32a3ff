"""Every op of `arith` and `math` in a region, against numpy or Python's integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_mlir.dialects import _arith_ops_gen, _math_ops_gen

from jogak.runtime.kernels.scalar import FUNCTIONS

FLOATS = [-2.5, -1.0, -0.5, -0.0, 0.25, 0.5, 1.5, 2.5, 3.0]
INTS = {"i8": [-128, -7, -1, 0, 1, 3, 100, 127], "i32": [-(2**31), -7, -1, 0, 1, 3, 2**31 - 1],
        "i64": [-(2**63), -(2**40) - 7, -1, 0, 1, 3, 2**62 + 5, 2**63 - 1]}  # fmt: skip


def signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def unsigned(value: int, width: int) -> int:
    return value & ((1 << width) - 1)


def program(body: str, types: list[str], result: str, size: int) -> str:
    """A generic op over one loop with `%a`, `%b`, `%c` as inputs and `%r` as its result."""
    names = ["%a", "%b", "%c"][: len(types)]
    arguments = ", ".join(f"%x{k}: tensor<{size}x{type_}>" for k, type_ in enumerate(types))
    maps = ", ".join(["affine_map<(d0) -> (d0)>"] * (len(types) + 1))
    tensors = ", ".join(f"tensor<{size}x{type_}>" for type_ in types)
    block = ", ".join(f"{name}: {type_}" for name, type_ in zip(names, types, strict=True))
    return f"""func.func @main({arguments}) -> tensor<{size}x{result}> {{
      %e = tensor.empty() : tensor<{size}x{result}>
      %y = linalg.generic {{indexing_maps = [{maps}], iterator_types = ["parallel"]}}
        ins({", ".join(f"%x{k}" for k in range(len(types)))} : {tensors}) outs(%e : tensor<{size}x{result}>) {{
      ^bb0({block}, %o: {result}):
        {body}
        linalg.yield %r : {result}
      }} -> tensor<{size}x{result}>
      return %y : tensor<{size}x{result}>
    }}"""


def test_every_op_has_a_function() -> None:
    names = {
        each.OPERATION_NAME
        for module in (_arith_ops_gen, _math_ops_gen)
        for each in vars(module).values()
        if hasattr(each, "OPERATION_NAME")
    }
    constants = {"arith.constant"}
    eight_bit_floats = {"arith.scaling_extf", "arith.scaling_truncf"}
    assert names - set(FUNCTIONS) == constants | eight_bit_floats


UNARY: dict[str, Callable[[Any], Any]] = {
    "absf": np.abs, "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh, "atan": np.arctan,
    "atanh": np.arctanh, "cbrt": np.cbrt, "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh,
    "erf": np.vectorize(math.erf), "erfc": np.vectorize(math.erfc), "exp": np.exp, "exp2": np.exp2,
    "expm1": np.expm1, "floor": np.floor, "log": np.log, "log10": np.log10, "log1p": np.log1p, "log2": np.log2,
    "round": lambda x: np.trunc(x + np.copysign(0.5, x)), "roundeven": np.round, "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin, "sinh": np.sinh, "sqrt": np.sqrt, "tan": np.tan, "tanh": np.tanh, "trunc": np.trunc,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_unary_math(run: Any, name: str) -> None:
    x = np.array(FLOATS)
    (got,) = run(program(f"%r = math.{name} %a : f64", ["f64"], "f64", len(x)), torch.from_numpy(x))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got.numpy(), UNARY[name](x), rtol=1e-12, atol=1e-300)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "arith.addf": np.add, "arith.subf": np.subtract, "arith.mulf": np.multiply, "arith.divf": np.divide,
    "arith.remf": np.fmod, "arith.maximumf": np.maximum, "arith.minimumf": np.minimum, "arith.maxnumf": np.fmax,
    "arith.minnumf": np.fmin, "math.atan2": np.arctan2, "math.copysign": np.copysign, "math.powf": np.power,
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_binary_floats(run: Any, name: str) -> None:
    pairs = [(a, b) for a in [*FLOATS, math.nan, math.inf] for b in [*FLOATS, math.nan, -math.inf]]
    x, y = (np.array(column) for column in zip(*pairs, strict=True))
    text = program(f"%r = {name} %a, %b : f64", ["f64", "f64"], "f64", len(x))
    (got,) = run(text, torch.from_numpy(x), torch.from_numpy(y))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got.numpy(), BINARY[name](x, y), rtol=1e-12)


def ordered(a: float, b: float) -> bool:
    return not (math.isnan(a) or math.isnan(b))


CMPF: dict[str, Callable[[float, float], bool]] = {
    "false": lambda a, b: False, "true": lambda a, b: True, "ord": ordered, "uno": lambda a, b: not ordered(a, b),
    "oeq": lambda a, b: a == b, "ogt": lambda a, b: a > b, "oge": lambda a, b: a >= b, "olt": lambda a, b: a < b,
    "ole": lambda a, b: a <= b, "one": lambda a, b: ordered(a, b) and a != b,
    "ueq": lambda a, b: not ordered(a, b) or a == b, "ugt": lambda a, b: not ordered(a, b) or a > b,
    "uge": lambda a, b: not ordered(a, b) or a >= b, "ult": lambda a, b: not ordered(a, b) or a < b,
    "ule": lambda a, b: not ordered(a, b) or a <= b, "une": lambda a, b: a != b,
}  # fmt: skip


@pytest.mark.parametrize("predicate", CMPF)
def test_cmpf(run: Any, predicate: str) -> None:
    pairs = [(a, b) for a in (1.0, 2.0, math.nan) for b in (1.0, 2.0, math.nan)]
    x, y = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    (got,) = run(program(f"%r = arith.cmpf {predicate}, %a, %b : f64", ["f64", "f64"], "i1", len(pairs)), x, y)
    assert got.tolist() == [CMPF[predicate](a, b) for a, b in pairs]


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


INTEGER: dict[str, Callable[[int, int, int], int]] = {
    "addi": lambda a, b, w: a + b, "subi": lambda a, b, w: a - b, "muli": lambda a, b, w: a * b,
    "divsi": lambda a, b, w: truncated(a, b), "remsi": lambda a, b, w: a - truncated(a, b) * b,
    "floordivsi": lambda a, b, w: a // b, "ceildivsi": lambda a, b, w: -(-a // b),
    "divui": lambda a, b, w: unsigned(a, w) // unsigned(b, w), "remui": lambda a, b, w: unsigned(a, w) % unsigned(b, w),
    "ceildivui": lambda a, b, w: -(-unsigned(a, w) // unsigned(b, w)), "andi": lambda a, b, w: a & b,
    "ori": lambda a, b, w: a | b, "xori": lambda a, b, w: a ^ b, "maxsi": lambda a, b, w: max(a, b),
    "minsi": lambda a, b, w: min(a, b), "maxui": lambda a, b, w: max(unsigned(a, w), unsigned(b, w)),
    "minui": lambda a, b, w: min(unsigned(a, w), unsigned(b, w)), "shli": lambda a, b, w: a << b,
    "shrsi": lambda a, b, w: a >> b, "shrui": lambda a, b, w: unsigned(a, w) >> b,
}  # fmt: skip


@pytest.mark.parametrize("element", INTS)
@pytest.mark.parametrize("name", INTEGER)
def test_integers(run: Any, name: str, element: str) -> None:
    width = int(element[1:])
    right = range(width) if name.startswith("sh") else INTS[element]
    low = -(1 << (width - 1))
    divides = "div" in name or "rem" in name
    pairs = [(a, b) for a in INTS[element] for b in right if not divides or (b != 0 and (a, b) != (low, -1))]
    if name == "ceildivsi":
        pairs = [(a, b) for a, b in pairs if a != low]
    x, y = (torch.tensor(column, dtype=getattr(torch, f"int{width}")) for column in zip(*pairs, strict=True))
    (got,) = run(program(f"%r = arith.{name} %a, %b : {element}", [element] * 2, element, len(pairs)), x, y)
    assert got.tolist() == [signed(INTEGER[name](a, b, width), width) for a, b in pairs]


@pytest.mark.parametrize("predicate", ["eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge"])
@pytest.mark.parametrize("element", ["i1", *INTS])
def test_cmpi(run: Any, predicate: str, element: str) -> None:
    width = int(element[1:])
    values = [0, 1] if element == "i1" else INTS[element]
    pairs = [(a, b) for a in values for b in values]
    dtype = torch.bool if element == "i1" else getattr(torch, f"int{width}")
    x, y = (torch.tensor(column, dtype=dtype) for column in zip(*pairs, strict=True))
    (got,) = run(program(f"%r = arith.cmpi {predicate}, %a, %b : {element}", [element] * 2, "i1", len(pairs)), x, y)
    view = unsigned if predicate[0] == "u" else signed
    operator = f"__{predicate if len(predicate) == 2 else predicate[1:]}__"
    assert got.tolist() == [getattr(view(a, width), operator)(view(b, width)) for a, b in pairs]


BOOLEAN = {"addi": (0, 1, 1, 0), "subi": (0, 1, 1, 0), "muli": (0, 0, 0, 1), "andi": (0, 0, 0, 1), "ori": (0, 1, 1, 1),
           "xori": (0, 1, 1, 0), "maxsi": (0, 0, 0, 1), "minsi": (0, 1, 1, 1), "maxui": (0, 1, 1, 1),
           "minui": (0, 0, 0, 1)}  # fmt: skip


@pytest.mark.parametrize("name", BOOLEAN)
def test_one_bit(run: Any, name: str) -> None:
    x, y = torch.tensor([False, False, True, True]), torch.tensor([False, True, False, True])
    (got,) = run(program(f"%r = arith.{name} %a, %b : i1", ["i1", "i1"], "i1", 4), x, y)
    assert tuple(int(value) for value in got) == BOOLEAN[name]


@pytest.mark.parametrize("element", ["i32", "i64"])
@pytest.mark.parametrize("kind", ["si", "ui"])
@pytest.mark.parametrize("half", [0, 1])
def test_wide_products(run: Any, element: str, kind: str, half: int) -> None:
    width = int(element[1:])
    pairs = [(a, b) for a in INTS[element] for b in INTS[element]]
    x, y = (torch.tensor(column, dtype=getattr(torch, f"int{width}")) for column in zip(*pairs, strict=True))
    body = f"%p:2 = arith.mul{kind}_extended %a, %b : {element}\n%z = arith.constant 0 : {element}\n"
    body += f"%r = arith.addi %p#{half}, %z : {element}"
    (got,) = run(program(body, [element] * 2, element, len(pairs)), x, y)
    view = signed if kind == "si" else unsigned
    expected = [signed(view(a, width) * view(b, width) >> (half * width), width) for a, b in pairs]
    assert got.tolist() == expected


@pytest.mark.parametrize(("op", "expected"), [
    ("addui_extended", lambda a, b, w: unsigned(a, w) + unsigned(b, w) >= 1 << w),
    ("subui_extended", lambda a, b, w: unsigned(a, w) < unsigned(b, w)),
])  # fmt: skip
@pytest.mark.parametrize("element", INTS)
def test_carries(run: Any, op: str, expected: Callable[[int, int, int], bool], element: str) -> None:
    width = int(element[1:])
    pairs = [(a, b) for a in INTS[element] for b in INTS[element]]
    x, y = (torch.tensor(column, dtype=getattr(torch, f"int{width}")) for column in zip(*pairs, strict=True))
    body = f"%p, %q = arith.{op} %a, %b : {element}, i1\n%t = arith.constant true\n%r = arith.andi %q, %t : i1"
    (got,) = run(program(body, [element] * 2, "i1", len(pairs)), x, y)
    assert got.tolist() == [expected(a, b, width) for a, b in pairs]


@pytest.mark.parametrize("element", INTS)
@pytest.mark.parametrize(("name", "count"), [
    ("ctpop", lambda text: text.count("1")),
    ("ctlz", lambda text: len(text) - len(text.lstrip("0"))),
    ("cttz", lambda text: len(text) - len(text.rstrip("0"))),
])  # fmt: skip
def test_bit_counts(run: Any, name: str, count: Callable[[str], int], element: str) -> None:
    width = int(element[1:])
    x = torch.tensor(INTS[element], dtype=getattr(torch, f"int{width}"))
    (got,) = run(program(f"%r = math.{name} %a : {element}", [element], element, len(x)), x)
    assert got.tolist() == [count(f"{unsigned(value, width):0{width}b}") for value in INTS[element]]


CASTS = [
    ("extsi", "i1", "i32", [0, 1], [0, -1]), ("extui", "i1", "i32", [0, 1], [0, 1]),
    ("extui", "i8", "i64", [-1, 5], [255, 5]), ("extsi", "i8", "i64", [-1, 5], [-1, 5]),
    ("trunci", "i32", "i8", [257, -129], [1, 127]), ("trunci", "i32", "i1", [2, 3], [0, 1]),
    ("sitofp", "i1", "f32", [0, 1], [0.0, -1.0]), ("uitofp", "i1", "f32", [0, 1], [0.0, 1.0]),
    ("uitofp", "i64", "f64", [-1, 7], [2.0**64, 7.0]), ("fptosi", "f32", "i32", [-1.7, 2.9], [-1, 2]),
    ("fptoui", "f32", "i8", [200.0, 3.5], [-56, 3]), ("index_cast", "i32", "index", [-1, 5], [-1, 5]),
    ("index_castui", "i32", "index", [-1, 5], [2**32 - 1, 5]),
    ("bitcast", "f32", "i32", [1.0, -0.0], [1065353216, -(2**31)]),
    ("truncf", "f32", "bf16", [1.00390625, 1.01171875], [1.0, 1.015625]),
    ("extf", "bf16", "f32", [1.5, 2.0], [1.5, 2.0]),
]  # fmt: skip
DTYPES = {"i1": torch.bool, "i8": torch.int8, "i32": torch.int32, "i64": torch.int64, "index": torch.int64,
          "f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16}  # fmt: skip


@pytest.mark.parametrize(("name", "source", "target", "values", "expected"), CASTS)
def test_casts(run: Any, name: str, source: str, target: str, values: list[Any], expected: list[Any]) -> None:
    text = program(f"%r = arith.{name} %a : {source} to {target}", [source], target, len(values))
    (got,) = run(text, torch.tensor(values, dtype=DTYPES[source]))
    assert got.dtype == DTYPES[target]
    assert [float(value) for value in got] == [float(value) for value in expected]


OTHERS = [
    ("%r = math.fma %a, %b, %c : f64", ["f64"] * 3, "f64", [[2.0], [3.0], [4.0]], [10.0]),
    ("%r = math.clampf %a to [%b, %c] : f64", ["f64"] * 3, "f64", [[5.0], [0.0], [2.0]], [2.0]),
    ("%r = math.fpowi %a, %b : f64, i32", ["f64", "i32"], "f64", [[2.0, 4.0], [3, -1]], [8.0, 0.25]),
    ("%r = math.ipowi %a, %b : i64", ["i64"] * 2, "i64", [[3, -1, 2, 1], [2, -3, -1, -9]], [9, -1, 0, 1]),
    ("%r = math.absi %a : i32", ["i32"], "i32", [[-3, 4]], [3, 4]),
    ("%r = arith.negf %a : f64", ["f64"], "f64", [[1.0, -2.0]], [-1.0, 2.0]),
    ("%r = math.isnan %a : f64", ["f64"], "i1", [[math.nan, math.inf, 1.0]], [1, 0, 0]),
    ("%r = math.isinf %a : f64", ["f64"], "i1", [[math.nan, -math.inf, 1.0]], [0, 1, 0]),
    ("%r = math.isfinite %a : f64", ["f64"], "i1", [[math.nan, math.inf, 1.0]], [0, 0, 1]),
    ("%r = math.isnormal %a : f64", ["f64"], "i1", [[1e-310, 0.0, 1.0, math.inf]], [0, 0, 1, 0]),
    ("%s, %k = math.sincos %a : f64\n%r = arith.mulf %s, %k : f64", ["f64"], "f64", [[0.5]],
     [math.sin(0.5) * math.cos(0.5)]),
    ("%t = arith.constant 2.0 : f64\n%r = arith.select %c, %a, %t : f64", ["f64", "f64", "i1"], "f64",
     [[1.0, 1.0], [0.0, 0.0], [1, 0]], [1.0, 2.0]),
    ("%t = arith.constant 2.0 : f64\n%u = arith.constant 3.0 : f64\n%r = arith.select %a, %t, %u : f64", ["i1"], "f64",
     [[1, 0]], [2.0, 3.0]),
    ("%r = arith.flush_denormals %a : f64", ["f64"], "f64", [[2.0]], [2.0]),
    ("%r = arith.convertf %a : f16 to bf16", ["f16"], "bf16", [[2.0]], [2.0]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "types", "target", "values", "expected"), OTHERS)
def test_others(run: Any, body: str, types: list[str], target: str, values: list[Any], expected: list[Any]) -> None:
    dtypes = {**DTYPES, "f16": torch.float16}
    tensors = [torch.tensor(column, dtype=dtypes[type_]) for column, type_ in zip(values, types, strict=True)]
    (got,) = run(program(body, types, target, len(values[0])), *tensors)
    assert [float(value) for value in got] == [float(value) for value in expected]


def test_index_dialect(run: Any) -> None:
    body = "%k = index.constant 3\n%s = index.add %a, %k\n%r = index.floordivs %s, %b"
    (got,) = run(program(body, ["index", "index"], "index", 2), torch.tensor([4, -8]), torch.tensor([2, 2]))
    assert got.tolist() == [3, -3]


def test_constants_are_rounded_to_their_type(run: Any) -> None:
    body = "%k = arith.constant 0.1 : f64\n%h = arith.truncf %k : f64 to bf16\n%f = arith.extf %h : bf16 to f64\n"
    text = program(body + "%r = arith.mulf %a, %f : f64", ["f64"], "f64", 1)
    one = torch.ones(1, dtype=torch.float64)
    assert run(text, one)[0].item() == torch.tensor(0.1, dtype=torch.bfloat16).item()
    assert run(text, one, precision="f64")[0].item() == 0.1
