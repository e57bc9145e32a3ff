"""Random `linalg.generic` ops against an interpreter that runs their loops one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jogak.ir.context import parse_module
from jogak.runtime.simulator import execute


@dataclass(frozen=True)
class Dim:
    """`sum(coefficient * d_loop) + constant`, optionally modulo something."""

    terms: tuple[tuple[int, int], ...]
    constant: int = 0
    modulo: int = 0

    def text(self) -> str:
        parts = [f"d{loop} * {coefficient}" if coefficient != 1 else f"d{loop}" for loop, coefficient in self.terms]
        text = " + ".join([*parts, str(self.constant)]) if self.constant or not parts else " + ".join(parts)
        return f"({text}) mod {self.modulo}" if self.modulo else text

    def at(self, point: tuple[int, ...]) -> int:
        value = sum(coefficient * point[loop] for loop, coefficient in self.terms) + self.constant
        return value % self.modulo if self.modulo else value


@dataclass(frozen=True)
class Case:
    """A generic op: loop sizes, input maps with shapes, the output's loops, the term and the combiner."""

    sizes: tuple[int, ...]
    inputs: tuple[tuple[tuple[Dim, ...], tuple[int, ...]], ...]
    output: tuple[int, ...]
    term: str
    combiner: str


TERMS: dict[str, tuple[list[str], Callable[..., float]]] = {
    "product": (["%p = arith.mulf %a, %b : f64"], lambda a, b, i: a * b),
    "sum": (["%p = arith.addf %a, %b : f64"], lambda a, b, i: a + b),
    "first": (["%p = arith.addf %a, %a : f64"], lambda a, b, i: a + a),
    "scaled": (
        ["%c = arith.constant 3.0 : f64", "%q = arith.mulf %a, %c : f64", "%p = arith.mulf %q, %b : f64"],
        lambda a, b, i: a * 3 * b,
    ),
    "indexed": (
        ["%i = linalg.index 0 : index", "%j = arith.index_cast %i : index to i64", "%k = arith.sitofp %j : i64 to f64",
         "%q = arith.mulf %a, %k : f64", "%p = arith.subf %q, %b : f64"],
        lambda a, b, i: a * i - b,
    ),
    "selected": (
        ["%c = arith.cmpf ogt, %a, %b : f64", "%p = arith.select %c, %a, %b : f64"],
        lambda a, b, i: max(a, b),
    ),
}  # fmt: skip
COMBINERS: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "add": ("%r = arith.addf %out, %p : f64", lambda o, p: o + p),
    "mul": ("%r = arith.mulf %p, %out : f64", lambda o, p: o * p),
    "max": ("%r = arith.maximumf %out, %p : f64", max),
    "min": ("%r = arith.minimumf %p, %out : f64", min),
    "mean": (
        "%h = arith.constant 0.5 : f64\n%s = arith.addf %out, %p : f64\n%r = arith.mulf %s, %h : f64",
        lambda o, p: (o + p) * 0.5,
    ),
    "none": ("%r = arith.negf %p : f64", lambda o, p: -p),
}


@st.composite
def dims(draw: Any, sizes: tuple[int, ...]) -> Dim:
    loop = st.integers(0, len(sizes) - 1)
    kind = draw(st.sampled_from(["plain", "plain", "plain", "constant", "window", "reversed", "modulo"]))
    first = draw(loop)
    if kind == "constant":
        return Dim((), draw(st.integers(0, 2)))
    if kind == "window":
        second = draw(loop)
        if second != first:
            terms = ((first, draw(st.integers(1, 3))), (second, draw(st.integers(1, 2))))
            return Dim(tuple(sorted(terms)), draw(st.integers(0, 1)))
    if kind == "reversed":
        return Dim(((first, -1),), sizes[first] - 1)
    return Dim(((first, 1),), 0, 2 if kind == "modulo" else 0)


@st.composite
def cases(draw: Any) -> Case:
    sizes = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)))
    inputs = []
    for _ in range(2):
        map_ = tuple(draw(st.lists(dims(sizes), min_size=0, max_size=4)))
        shape = tuple(
            sizes[dim.terms[0][0]]
            if len(dim.terms) == 1 and dim.terms[0][1] == 1 and not dim.constant and not dim.modulo
            else 1 + max(dim.at(point) for point in product(*(range(size) for size in sizes)))
            for dim in map_
        )
        inputs.append((map_, shape))
    loops = draw(st.permutations(range(len(sizes))))
    kept = draw(st.integers(0, len(sizes)))
    combiner = "none" if kept == len(sizes) else draw(st.sampled_from([name for name in COMBINERS if name != "none"]))
    return Case(sizes, tuple(inputs), tuple(loops[:kept]), draw(st.sampled_from(list(TERMS))), combiner)


def tensor_type(shape: tuple[int, ...]) -> str:
    return f"tensor<{''.join(f'{size}x' for size in shape)}f64>"


def program(case: Case) -> str:
    """The op in a function; an operand that nobody reads gives every loop its size."""
    loops = ", ".join(f"d{k}" for k in range(len(case.sizes)))
    maps = [", ".join(dim.text() for dim in map_) for map_, _ in case.inputs]
    maps += [loops, ", ".join(f"d{loop}" for loop in case.output)]
    types = [tensor_type(shape) for _, shape in case.inputs]
    types += [tensor_type(case.sizes), tensor_type(tuple(case.sizes[loop] for loop in case.output))]
    kinds = ", ".join('"parallel"' if loop in case.output else '"reduction"' for loop in range(len(case.sizes)))
    body = "\n".join([*TERMS[case.term][0], COMBINERS[case.combiner][0]])
    affine = ", ".join(f"affine_map<({loops}) -> ({map_})>" for map_ in maps)
    arguments = ", ".join(f"%x{k}: {type_}" for k, type_ in enumerate(types))
    return f"""
    func.func @main({arguments}) -> {types[3]} {{
      %y = linalg.generic {{indexing_maps = [{affine}], iterator_types = [{kinds}]}}
        ins(%x0, %x1, %x2 : {types[0]}, {types[1]}, {types[2]}) outs(%x3 : {types[3]}) {{
      ^bb0(%a: f64, %b: f64, %unused: f64, %out: f64):
        {body}
        linalg.yield %r : f64
      }} -> {types[3]}
      return %y : {types[3]}
    }}"""


def interpret(case: Case, arrays: list[Any], init: Any) -> Any:
    """Run the loops one by one."""
    result = init.copy()
    term, combine = TERMS[case.term][1], COMBINERS[case.combiner][1]
    for point in product(*(range(size) for size in case.sizes)):
        a, b = (
            array[tuple(dim.at(point) for dim in map_)] for (map_, _), array in zip(case.inputs, arrays, strict=True)
        )
        place = tuple(point[loop] for loop in case.output)
        result[place] = combine(result[place], term(a, b, point[0]))
    return result


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(case=cases(), seed=st.integers(0, 100))
def test_equals_the_loops(context: Any, case: Case, seed: int) -> None:
    random = np.random.default_rng(seed)
    arrays = [random.integers(-3, 4, shape).astype(np.float64) for _, shape in case.inputs]
    init = random.integers(-3, 4, tuple(case.sizes[loop] for loop in case.output)).astype(np.float64)
    tensors = [torch.from_numpy(np.array(array)) for array in [*arrays, np.zeros(case.sizes), init]]
    inputs = {f"arg{number}": tensor for number, tensor in enumerate(tensors)}
    (got,) = execute(parse_module(program(case), context), inputs).values()
    np.testing.assert_allclose(got.numpy(), interpret(case, arrays, np.array(init)), rtol=1e-12, atol=1e-12)
