"""Halo exchanges: pads are read through, and all windows on one value share one exchange."""

from __future__ import annotations

import pytest

from jogak.ir.module import main_function
from jogak.sharding.mesh import Mesh
from jogak.testing.differential import case_of, check_case, partitioned

HEAD = 'func.func @main(%x: tensor<2x16x3xf32> {jogak.constraint = "[_, a, _]"}'
PAD = """
  %z = arith.constant 0.5 : f32
  %p = tensor.pad %x low[0, 1, 0] high[0, 1, 2] {
  ^bb0(%i: index, %j: index, %k: index):
    tensor.yield %z : f32
  } : tensor<2x16x3xf32> to tensor<2x18x5xf32>
"""


def pooled(name: str, source: str, rows: int, out: int, kernel: int, stride: int = 1) -> str:
    """The maximum of windows along the second dimension."""
    width = 5 if source == "%p" else 3
    read, made = f"tensor<2x{rows}x{width}xf32>", f"tensor<2x{out}x{width}xf32>"
    maps = [
        f"affine_map<(n, i, k, c) -> (n, i * {stride} + k, c)>",
        "affine_map<(n, i, k, c) -> (k)>",
        "affine_map<(n, i, k, c) -> (n, i, c)>",
    ]
    kinds = '["parallel", "parallel", "reduction", "parallel"]'
    return f"""
  {name}w = tensor.empty() : tensor<{kernel}xf32>
  {name}z = arith.constant dense<-9.0> : {made}
  {name} = linalg.generic {{indexing_maps = [{", ".join(maps)}], iterator_types = {kinds}}} ins({source}, {name}w : {read}, tensor<{kernel}xf32>) outs({name}z : {made}) attrs = {{jogak.constraint = "[_, a, _]"}} {{
  ^bb0(%l: f32, %w: f32, %o: f32):
    %m = arith.maximumf %o, %l : f32
    linalg.yield %m : f32
  }} -> {made}
"""  # noqa: E501


def sliced(name: str, at: int, stride: int, size: int) -> str:
    """A strided slice of the padded value."""
    box = f"[0, {at}, 0] [2, {size}, 5] [1, {stride}, 1]"
    attribute = '{jogak.constraint = "[_, a, _]"}'
    return f"{name} = tensor.extract_slice %p{box} {attribute} : tensor<2x18x5xf32> to tensor<2x{size}x5xf32>\n"


PROGRAMS = {
    "a pad and a window": (
        f"{HEAD}) -> tensor<2x16x5xf32> {{{PAD}{pooled('%y', '%p', 18, 16, 3)} return %y : tensor<2x16x5xf32>\n}}",
        [(1, 1)],
    ),
    "slices of a padded value": (
        f"{HEAD}) -> (tensor<2x8x5xf32>, tensor<2x8x5xf32>, tensor<2x8x5xf32>) {{{PAD}"
        + "".join(sliced(f"%s{at}", at, 2, 8) for at in range(3))
        + "return %s0, %s1, %s2 : tensor<2x8x5xf32>, tensor<2x8x5xf32>, tensor<2x8x5xf32>\n}",
        [(1, 0)],
    ),
    "windows of several widths on one value": (
        f"{HEAD}) -> (tensor<2x16x5xf32>, tensor<2x14x3xf32>) {{{PAD}{pooled('%y', '%p', 18, 16, 3)}"
        f"{pooled('%w', '%x', 16, 14, 3)} return %y, %w : tensor<2x16x5xf32>, tensor<2x14x3xf32>\n}}",
        [(1, 2)],
    ),
    "a padded value that is also returned": (
        f'{HEAD}) -> (tensor<2x18x5xf32> {{jogak.sharding = "[_, a, _]"}}, tensor<2x16x5xf32>) {{{PAD}'
        f"{pooled('%y', '%p', 18, 16, 3)} return %p, %y : tensor<2x18x5xf32>, tensor<2x16x5xf32>\n}}",
        [(1, 2)],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_value_is_exchanged_once(name):
    program, margins = PROGRAMS[name]
    case = case_of(program, Mesh.parse("a=4"))
    module = partitioned(case)
    ops = [view.operation for view in main_function(module).operation.regions[0].blocks[0].operations]
    found = [tuple(op.attributes["static_halo_sizes"]) for op in ops if op.name == "shard.update_halo"]
    assert found == margins
    assert check_case(case) is None
