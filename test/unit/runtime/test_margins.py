"""Zeros in front of convolutions become their arguments, where PyTorch can say it; results stay."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.runtime.program import KernelStep, Program, load_program
from jogak.runtime.simulator import ONE_DEVICE, simulate
from jogak.runtime.spec import LinalgSpec, Linear
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.rank import mesh as rank_mesh
from jogak.targets.torch.program import write_program

ONE = Mesh(("x",), (1,))
PAD = "^bb0(%i0: index, %i1: index, %i2: index, %i3: index): tensor.yield %zero : f32"
MULTIPLY_ADD = """
    ^bb0(%p0: f32, %p1: f32, %p2: f32):
      %m = arith.mulf %p0, %p1 : f32
      %s = arith.addf %p2, %m : f32
      linalg.yield %s : f32
"""
SPREAD = """
    %t = tensor.expand_shape %x [[0], [1], [2, 3], [4, 5]] output_shape [2, 4, 5, 1, 6, 1]
      : tensor<2x4x5x6xf32> into tensor<2x4x5x1x6x1xf32>
    %q = tensor.pad %t low[0, 0, 0, 0, 0, 0] high[0, 0, 0, 1, 0, 1] {
    ^bb0(%i0: index, %i1: index, %i2: index, %i3: index, %i4: index, %i5: index): tensor.yield %zero : f32
    } : tensor<2x4x5x1x6x1xf32> to tensor<2x4x5x2x6x2xf32>
    %c = tensor.collapse_shape %q [[0], [1], [2, 3], [4, 5]] : tensor<2x4x5x2x6x2xf32> into tensor<2x4x10x12xf32>
"""


def tensor(*shape: int) -> str:
    return f"tensor<{'x'.join(map(str, shape))}xf32>"


def padded(source: str, shape: tuple[int, ...], low: list[int], high: list[int], value: str = "zero") -> str:
    """`%p`: a tensor with margins."""
    made = tensor(*(size + a + b for size, a, b in zip(shape, low, high, strict=True)))
    region = PAD.replace("%zero", f"%{value}")
    return f"%p = tensor.pad {source} low{low} high{high} {{\n{region}\n}} : {tensor(*shape)} to {made}"


def convolution(
    maps: str, before: str, x: tuple[int, ...], p: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...]
) -> str:
    """A program: `before` makes `%p` of `%x`, a window slides over it, and nothing else."""
    loops = "n, f, h, w, c, i, j"
    exprs = ", ".join(f"affine_map<({loops}) -> ({each})>" for each in maps.split(" ; "))
    kinds = ", ".join(f'"{kind}"' for kind in ["parallel"] * 4 + ["reduction"] * 3)
    return f"""
module {{
  func.func @main(%x: {tensor(*x)} {{jogak.name = "x"}}, %w: {tensor(*w)} {{jogak.name = "w"}})
      -> ({tensor(*y)} {{jogak.name = "y"}}) {{
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    {before}
    %e = tensor.empty() : {tensor(*y)}
    %f = linalg.fill ins(%zero : f32) outs(%e : {tensor(*y)}) -> {tensor(*y)}
    %r = linalg.generic {{indexing_maps = [{exprs}], iterator_types = [{kinds}]}}
      ins(%p, %w : {tensor(*p)}, {tensor(*w)}) outs(%f : {tensor(*y)}) {{ {MULTIPLY_ADD} }} -> {tensor(*y)}
    return %r : {tensor(*y)}
  }}
}}"""


def backwards(program: Program) -> Program:
    """The program whose filter is read from its end, which MLIR's text cannot say."""
    *before, last = program.steps
    assert isinstance(last, KernelStep)
    assert isinstance(last.spec, LinalgSpec)
    data, filters, made = last.spec.maps
    ends = tuple(Linear(((loop, -1),), 2) for loop in (5, 6))
    spec = last.spec._replace(maps=(data, (*filters[:2], *ends), made))
    return replace(program, steps=[*before, replace(last, spec=spec)])


def text_and_results(text: str, is_backwards: bool = False) -> tuple[str, torch.Tensor, torch.Tensor]:
    """What is written for a program, and its result with and without margins in the convolution."""
    program = load_program(ir.Module.parse(text, new_context()))
    program = backwards(program) if is_backwards else program
    values = {each.name: torch.randn(each.type.shape) for each in program.arguments}
    (expected,) = simulate(program, ONE_DEVICE, [values]).outputs[0]
    written, _ = write_program(program, ONE, None, "a convolution")
    device = ModuleType("device")
    exec(written, vars(device))
    mesh: Any = rank_mesh.Mesh(device.MESH, device.GROUPS, 0, 1.0)
    (found,) = device.main([value.clone() for value in values.values()], {}, mesh)
    return written, found, expected


FORWARD = "n, c, h * 2 + i, w * 2 + j ; f, c, i, j ; n, f, h, w"
STEP_1 = "n, c, h + i, w + j ; f, c, i, j ; n, f, h, w"
LAID_DOWN = "n, c, h + i, w + j ; c, f, i, j ; n, f, h, w"


@pytest.mark.parametrize(
    ("low", "high", "extents", "folded"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], (10, 12), True),
        ([0, 0, 1, 1], [0, 0, 0, 0], (9, 11), True),  # the windows do not reach the last zeros of both sides
        ([0, 0, 1, 1], [0, 0, 2, 2], (11, 13), False),  # one window more than both sides with one zero give
        ([0, 0, 0, 1], [0, 0, 2, 1], (10, 12), False),
        ([0, 1, 1, 1], [0, 0, 1, 1], (10, 12), False),  # channels of zeros
    ],
)
def test_forward(low: list[int], high: list[int], extents: tuple[int, int], folded: bool) -> None:
    channels = 4 + low[1]
    rows, columns = ((extent - 3) // 2 * 2 + 3 for extent in extents)
    windows = tuple((extent - 3) // 2 + 1 for extent in extents)
    before = padded("%x", (2, 4, 8, 10), low, high)
    at = (2, channels, rows, columns)
    if (rows, columns) != extents:
        before = before.replace("%p =", "%whole =") + (
            f"\n%p = tensor.extract_slice %whole[0, 0, 0, 0] [2, {channels}, {rows}, {columns}] [1, 1, 1, 1]"
            f" : {tensor(2, channels, *extents)} to {tensor(*at)}"
        )
    text = convolution(FORWARD, before, (2, 4, 8, 10), at, (5, channels, 3, 3), (2, 5, *windows))
    written, found, expected = text_and_results(text)
    assert ("constant_pad_nd" not in written) == (folded and at[2:] == extents)
    torch.testing.assert_close(found, expected)


def test_other_values_than_zero_stay() -> None:
    before = padded("%x", (2, 4, 8, 10), [0, 0, 1, 1], [0, 0, 1, 1], "one")
    text = convolution(STEP_1, before, (2, 4, 8, 10), (2, 4, 10, 12), (5, 4, 3, 3), (2, 5, 8, 10))
    written, found, expected = text_and_results(text)
    assert "constant_pad_nd" in written
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("low", "high", "folded"), [([0, 0, 1, 1], [0, 0, 1, 1], True), ([0, 0, 3, 1], [0, 0, 3, 1], False)]
)
def test_elements_that_are_set_apart_are_a_stride(low: list[int], high: list[int], folded: bool) -> None:
    extents = (10 + low[2] + high[2], 12 + low[3] + high[3])
    before = SPREAD + padded("%c", (2, 4, 10, 12), low, high)
    made = (2, 5, *(extent - 2 for extent in extents))
    written, found, expected = text_and_results(
        convolution(LAID_DOWN, before, (2, 4, 5, 6), (2, 4, *extents), (4, 5, 3, 3), made), is_backwards=True
    )
    assert ("constant_pad_nd" not in written) == folded
    assert ("stride=[2, 2]" in written) == folded
    torch.testing.assert_close(found, expected)


def test_the_gradient_of_a_filter() -> None:
    before = padded("%x", (2, 4, 8, 10), [0, 0, 1, 1], [0, 0, 1, 1])
    maps = "c, n, h + i, w + j ; c, f, i, j ; f, n, h, w"
    written, found, expected = text_and_results(
        convolution(maps, before, (2, 4, 8, 10), (2, 4, 10, 12), (2, 5, 8, 10), (5, 4, 3, 3))
    )
    assert "convolution_backward" in written
    assert "constant_pad_nd" not in written
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
