"""Bucketed collectives on all devices: how many are left, and the results."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from jogak.ir.module import main_function
from jogak.partition.optimize.packing import gathered_groups
from jogak.sharding.mesh import Mesh
from jogak.testing.differential import case_of, check_case, partitioned

MAP = "affine_map<(i, j) -> (i, j)>"
TRAIT = f'indexing_maps = [{MAP}, {MAP}], iterator_types = ["parallel", "parallel"]'


def gathers(*arguments: tuple[tuple[int, int], int]) -> str:
    """A program that gathers each argument (shape, dimension) behind an op on its pieces."""
    named = [f"%x{n}: {typed(shape)}" for n, (shape, _) in enumerate(arguments)]
    lines = []
    for n, (shape, dim) in enumerate(arguments):
        type_ = typed(shape)
        split = ", ".join("a" if each == dim else "_" for each in range(2))
        lines += [f"%e{n} = tensor.empty() : {type_}"]
        for name, source, spec in ((f"%s{n}", f"%x{n}", split), (f"%y{n}", f"%s{n}", "_, _")):
            lines += [
                f"{name} = linalg.generic {{{TRAIT}}} ins({source} : {type_}) outs(%e{n} : {type_}) "
                f'attrs = {{jogak.constraint = "[{spec}]"}} {{',
                "^bb0(%a: f32, %o: f32):",
                "%m = math.tanh %a : f32",
                f"linalg.yield %m : f32 }} -> {type_}",
            ]
    types = ", ".join(typed(shape) for shape, _ in arguments)
    results = ", ".join(f"%y{n}" for n in range(len(arguments)))
    body = "\n".join(lines)
    return f"func.func @main({', '.join(named)}) -> ({types}) {{\n{body}\nreturn {results} : {types}\n}}"


def typed(shape: tuple[int, int]) -> str:
    return f"tensor<{shape[0]}x{shape[1]}xf32>"


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ([((8, 4), 0)] * 2, 1),
        ([((8, 4), 0), ((8, 6), 0)], 2),  # two copies out of the buffer cost more than the latency of one gather
        ([((8, 4), 0), ((8, 6), 0), ((8, 4), 0), ((8, 2), 0), ((8, 4), 0)], 1),
        ([((8, 4), 0), ((4, 8), 1), ((16, 2), 0), ((16, 2), 0), ((8, 6), 0)], 1),
    ],
)
def test_gathers_of_one_size_are_unpacked_together(arguments, left):
    case = replace(case_of(gathers(*arguments), Mesh.parse("a=4")), optimized=True)
    module = partitioned(case)
    ops = [view.operation.name for view in main_function(module).operation.regions[0].blocks[0].operations]
    assert Counter(ops)["shard.all_gather"] == left
    assert check_case(case) is None


def test_which_widths_are_unpacked_together():
    assert gathered_groups([4, 4]) == {4: 2}
    assert gathered_groups([4, 4, 6]) == {}
    assert gathered_groups([4, 6, 4, 4]) == {4: 3}
