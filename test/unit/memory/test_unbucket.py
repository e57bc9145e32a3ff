"""Buckets that are taken apart: the same bits from every kind of collective, and only what can be taken apart is."""

from __future__ import annotations

import pytest
import torch
from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.ir.module import main_function
from jogak.memory.fit import fit
from jogak.memory.reading import read_tape
from jogak.memory.split import fit_split
from jogak.memory.unbucket import find_buckets, take_apart
from jogak.runtime.program import load_program
from jogak.runtime.simulator import simulate
from jogak.runtime.values import drawn_values
from jogak.sharding.mesh import Mesh

MESH = Mesh(("data",), (2,))
WIDTHS = (64, 2, 128, 1, 1)
KINDS = {
    "all_reduce": ("shard.all_reduce %c on @mesh grid_axes = [0]", 2, 2, 1),
    "all_reduce of rows": ("shard.all_reduce %c on @mesh grid_axes = [0]", 2, 2, 0),
    "reduce_scatter": ("shard.reduce_scatter %c on @mesh grid_axes = [0] scatter_dim = 0", 2, 1, 1),
    "all_gather": ("shard.all_gather %c on @mesh grid_axes = [0] gather_axis = 0", 1, 2, 1),
}


def tensor(height: int, width: int, dim: int) -> str:
    return f"tensor<{height}x{width}xf32>" if dim == 1 else f"tensor<{width}x{height}xf32>"


def program(kind: str, straddle: bool = False) -> str:
    """A bucket of what five ops make, and an update for each that reads its piece."""
    text, before, after, dim = KINDS[kind]
    whole, total = [], sum(WIDTHS)
    lines = []
    for n, width in enumerate(WIDTHS):
        whole.append(tensor(before, width, dim))
        lines.append(f"%e{n} = tensor.empty() : {whole[-1]}")
        lines.append(f"%m{n} = linalg.exp ins(%x{n} : {whole[-1]}) outs(%e{n} : {whole[-1]}) -> {whole[-1]}")
    made = ", ".join(f"%m{n}" for n in range(len(WIDTHS)))
    lines.append(f"%c = tensor.concat dim({dim}) {made} : ({', '.join(whole)}) -> {tensor(before, total, dim)}")
    lines.append(f"%r = {text} : {tensor(before, total, dim)} -> {tensor(after, total, dim)}")
    outputs, start = [], 0
    for n, width in enumerate(WIDTHS):
        at = start - 1 if straddle and n == 1 else start
        offsets, sizes = ([0, at], [after, width]) if dim == 1 else ([at, 0], [width, after])
        outputs.append(tensor(after, width, dim))
        lines.append(
            f"%s{n} = tensor.extract_slice %r{offsets} {sizes} [1, 1] : {tensor(after, total, dim)} to {outputs[-1]}"
        )
        lines.append(f"%o{n} = tensor.empty() : {outputs[-1]}")
        lines.append(f"%u{n} = linalg.exp ins(%s{n} : {outputs[-1]}) outs(%o{n} : {outputs[-1]}) -> {outputs[-1]}")
        start += width
    arguments = [f'%x{n}: {kind} {{jogak.name = "x{n}", jogak.role = "input"}}' for n, kind in enumerate(whole)]
    results = [f'{kind} {{jogak.name = "u{n}", jogak.role = "output"}}' for n, kind in enumerate(outputs)]
    returned = ", ".join(f"%u{n}" for n in range(len(WIDTHS)))
    body = "\n".join(lines)
    return f"""module {{
shard.grid @mesh(shape = 2) {{jogak.axes = ["data"]}}
func.func @main({", ".join(arguments)}) -> ({", ".join(results)}) {{
{body}
return {returned} : {", ".join(outputs)}
}} }}"""


def parsed(text: str) -> ir.Module:
    from jogak.ir.pass_manager import run_pipeline

    module = ir.Module.parse(text, new_context())
    run_pipeline(module, "builtin.module(func.func(linalg-generalize-named-ops))")
    return module


def outputs(module: ir.Module) -> list[list[torch.Tensor]]:
    loaded = load_program(module)
    interface = [
        {"name": a.name, "shape": a.type.shape, "element": a.type.element, "role": a.role} for a in loaded.arguments
    ]
    return simulate(loaded, MESH, [drawn_values(interface, device) for device in range(2)]).outputs


@pytest.mark.parametrize("kind", KINDS)
def test_bits_stay_and_small_pieces_stay_together(kind):
    module = parsed(program(kind))
    plain = outputs(module)
    function = main_function(module).operation
    buckets = find_buckets(function)
    assert [bucket.alone for bucket in buckets] == [[0, 2]]
    with module.context:
        take_apart(buckets)
    assert module.operation.verify()
    name = KINDS[kind][0].split()[0]
    assert str(module).count(name) == 3
    for before, after in zip(plain, outputs(module), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_reads_of_two_pieces_keeps_its_bucket():
    assert not find_buckets(main_function(parsed(program("all_reduce", straddle=True))).operation)


def test_a_bucket_is_taken_apart_for_memory_and_not_for_nothing():
    """With the bucket, all that is made waits in it beside its pieces; alone, each is read and gone."""
    module = parsed(program("all_reduce"))
    function = main_function(module).operation
    reading = read_tape(function, lambda op: 5.0 if op.name.startswith("shard.") else 1.0)
    tape = reading.tape
    most = fit(tape, 2**30).placement.arena
    with module.context:
        _, plan = fit_split(function, reading, lambda each, seconds: fit(each, most, time_limit=seconds), 20)
    assert plan.fits
    assert plan.unbucketed == 0
    with module.context:
        _, plan = fit_split(function, reading, lambda each, seconds: fit(each, most - 1024, time_limit=seconds), 20)
    assert plan.fits
    assert plan.unbucketed == 1
    assert plan.latency_seconds > 0
