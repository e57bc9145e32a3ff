"""Fused projections of unequal parts: what the rewritten program computes from the reordered weight."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_mlir import ir

import jogak.passes
from jogak.ir.context import new_context, parse_module
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.registry import Registry
from jogak.runtime.simulator import execute
from jogak.sharding.annotation import read_arguments
from jogak.sharding.selection import Argument
from jogak.targets.distributed.rank.layout import logical, stored

PARALLEL = 'iterator_types = ["parallel", "parallel"]'
ID, ROW, COLUMN = (f"affine_map<(d0, d1) -> ({results})>" for results in ("d0, d1", "d1", "d0"))


def program(parts: list[tuple[int, int]], order: list[int], *, insert: bool) -> str:
    """A fused linear layer that is taken apart into heads, put together again, and summed into a new bias.

    Args:
        parts: heads and their size.
        order: in which parts are taken.
        insert: whether they are put together by insertions instead of a concatenation.
    """
    sizes = [heads * size for heads, size in parts]
    offsets, total = [sum(sizes[:n]) for n in range(len(sizes))], sum(sizes)
    whole, state = f"tensor<3x{total}xf32>", f"tensor<{total}xf32>"
    text = [
        f"  %e = tensor.empty() : {whole}",
        f"  %y = linalg.generic {{indexing_maps = [{COLUMN}, {ROW}, {ID}], {PARALLEL}}} "
        f"ins(%x, %b : tensor<3xf32>, {state}) outs(%e : {whole}) {{",
        "  ^bb0(%p: f32, %q: f32, %r: f32):\n    %0 = arith.mulf %p, %q : f32\n    linalg.yield %0 : f32",
        f"  }} -> {whole}",
    ]
    for n in order:
        heads, size = parts[n]
        part, view = f"tensor<3x{sizes[n]}xf32>", f"tensor<3x{heads}x{size}xf32>"
        text += [
            f"  %s{n} = tensor.extract_slice %y[0, {offsets[n]}] [3, {sizes[n]}] [1, 1] : {whole} to {part}",
            f"  %h{n} = tensor.expand_shape %s{n} [[0], [1, 2]] output_shape [3, {heads}, {size}] : {part} into {view}",
        ]
    kinds = [f"tensor<3x{size}xf32>" for size in sizes]
    if insert:
        fill = f"  %i0 = linalg.fill ins(%c : f32) outs(%e : {whole}) -> {whole}"
        text += ["  %c = arith.constant 0.0 : f32", fill]
        for step, n in enumerate(order):
            lists = f"[0, {offsets[n]}] [3, {sizes[n]}] [1, 1]"
            text.append(f"  %i{step + 1} = tensor.insert_slice %s{n} into %i{step}{lists} : {kinds[n]} into {whole}")
        back = f"%i{len(order)}"
    else:
        names = ", ".join(f"%s{n}" for n in range(len(parts)))
        text.append(f"  %back = tensor.concat dim(1) {names} : ({', '.join(kinds)}) -> {whole}")
        back = "%back"
    text += [
        f'  %new = linalg.generic {{indexing_maps = [{ID}, {ROW}], iterator_types = ["reduction", "parallel"]}} '
        f"ins({back} : {whole}) outs(%b : {state}) {{",
        "  ^bb0(%p: f32, %q: f32):\n    %0 = arith.addf %p, %q : f32\n    linalg.yield %0 : f32",
        f"  }} -> {state}",
    ]
    views = [f"tensor<3x{heads}x{size}xf32>" for heads, size in parts]
    results = ", ".join(
        [
            *(f'{kind} {{jogak.name = "h{n}"}}' for n, kind in enumerate(views)),
            f'{state} {{jogak.name = "new", jogak.updates = 0 : i64}}',
        ]
    )
    returned = ", ".join([*(f"%h{n}" for n in range(len(parts))), "%new"])
    return "\n".join(
        [
            f'func.func @main(%b: {state} {{jogak.name = "b", jogak.role = "parameter"}}, '
            f'%x: tensor<3xf32> {{jogak.name = "x", jogak.role = "input"}}) -> ({results}) {{',
            *text,
            f"  return {returned} : {', '.join([*views, state])}",
            "}",
        ]
    )


def refined(text: str) -> tuple[ir.Module, Argument]:
    registry = Registry()
    registry.add(jogak.passes.plugin, "jogak")
    module = parse_module(text, new_context())
    run_pipeline(module, "builtin.module(jogak-refine-dimensions,canonicalize,cse)", registry=registry)
    return module, read_arguments(main_function(module).operation)[0]


def run(module: ir.Module, bias: Tensor) -> dict[str, Tensor]:
    return execute(module, {"b": bias, "x": torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)}, precision="f64")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=4),
    st.data(),
    st.booleans(),
)
def test_computes_the_same(common: int, parts: list[tuple[int, int]], data: st.DataObject, insert: bool) -> None:
    parts = [(common * heads, size) for heads, size in parts]
    order = data.draw(st.permutations(range(len(parts))))
    text = program(parts, order, insert=insert)
    after, argument = refined(text)
    bias = torch.rand(sum(heads * size for heads, size in parts), dtype=torch.float64)
    expected = run(parse_module(text, new_context()), bias)
    layout = argument.layout()
    got = run(after, stored(bias, layout))
    got["new"] = logical(got["new"], layout)
    for name, value in expected.items():
        torch.testing.assert_close(got[name].reshape(value.shape), value, rtol=0, atol=0, msg=name)
    uneven = len({heads * size for heads, size in parts}) > 1
    assert bool(argument.shares) == (uneven and math.gcd(*(heads for heads, _ in parts)) > 1)
