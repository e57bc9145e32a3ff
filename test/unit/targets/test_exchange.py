"""Gathering, scattering and reducing by messages, on real processes beside what they should give."""

from __future__ import annotations

from pathlib import Path

import pytest

from jogak.targets.distributed.launch import finish
from jogak.testing.forked import forked

_SCRIPT = """
import torch, torch.distributed as dist
from jogak.targets.distributed.rank import exchange
from jogak.targets.distributed.rank.mesh import Mesh

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
mesh = Mesh({"x": size}, [("x",)], rank, 30.0)
axes = ("x",)
drawn = lambda dtype: [  # every rank knows what all have
    (torch.rand(6, 2 * size, generator=torch.Generator().manual_seed(each)) * 9).to(dtype) for each in range(size)
]
for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.int16):
    parts = drawn(dtype)
    for dim in (0, 1):
        assert torch.equal(mesh.all_gather(parts[rank], axes, dim).wait(), torch.cat(parts, dim))
        first = mesh.all_gather(parts[rank], axes, dim)  # two under way at once
        second = mesh.all_gather(-parts[rank], axes, dim)
        assert torch.equal(second.wait(), -first.wait())
operations = {"sum": torch.sum, "product": torch.prod, "max": torch.amax, "min": torch.amin}
for name, operation in operations.items():
    parts = drawn(torch.float64)
    before = parts[rank].clone()
    for dim in (0, 1):
        found = mesh.reduce_scatter(parts[rank], axes, name, dim).wait()
        whole = operation(torch.stack(parts), 0)
        assert torch.allclose(found, whole.chunk(size, dim)[rank]), (name, dim)
    assert torch.equal(parts[rank], before)
parts = [each > 4 for each in drawn(torch.float32)]
assert torch.equal(mesh.reduce_scatter(parts[rank], axes, "sum", 0).wait(), torch.stack(parts).any(0).chunk(size)[rank])
whole = torch.stack(parts).all(0).chunk(size)[rank]
assert torch.equal(mesh.reduce_scatter(parts[rank], axes, "product", 0).wait(), whole)
for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):  # what is no row-major tensor is reduced where it lies
    parts = [torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(each)).permute(order) for each in range(size)]
    for given in (parts, [each[1:, ::2] for each in parts]):
        sent = given[rank].clone() if given is parts else given[rank]
        found = mesh.all_reduce(sent, axes, "sum", in_place=given is parts).wait()
        assert torch.allclose(found, sum(given))
        assert given is not parts or found.data_ptr() == sent.data_ptr()
for number in (7, exchange.LARGEST // 4 // (size - 1), exchange.LARGEST // 4 // (size - 1) + 1):  # the last one by gloo
    messages = exchange.received_whole(4 * number, size) > 0
    assert messages == (4 * number * (size - 1) <= exchange.LARGEST)
    for name, operation in operations.items():
        parts = [torch.rand(number, generator=torch.Generator().manual_seed(each)) for each in range(size)]
        sent = parts[rank].clone()
        first, second = mesh.all_reduce(sent, axes, name), mesh.all_reduce(-sent, axes, "sum", in_place=True)
        assert torch.allclose(second.wait(), -sum(parts))
        found = first.wait()
        assert torch.allclose(found, operation(torch.stack(parts), 0))
        assert torch.equal(sent, parts[rank])
        same = [torch.empty_like(found) for _ in range(size)]
        dist.all_gather(same, found)
        assert all(torch.equal(each, found) for each in same)
for dtype in (torch.bfloat16, torch.int64, torch.int16):
    parts = drawn(dtype)
    found = mesh.all_reduce(parts[rank], axes, "sum").wait()
    assert found.dtype == dtype and torch.allclose(found.float(), sum(parts).float(), rtol=0.02)
parts = [each > 4 for each in drawn(torch.float32)]
assert torch.equal(mesh.all_reduce(parts[rank], axes, "sum").wait(), torch.stack(parts).any(0))
assert torch.equal(mesh.all_reduce(parts[rank], axes, "product").wait(), torch.stack(parts).all(0))
assert mesh.all_reduce(torch.tensor(float(rank)), axes, "average").wait().item() == (size - 1) / 2
average = mesh.reduce_scatter(torch.full((size,), float(rank)), axes, "average", 0).wait()
assert average.item() == (size - 1) / 2
dist.destroy_process_group()
"""


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_messages_do_what_collectives_do(processes: int, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(_SCRIPT)
    finish(forked(processes, str(script)), tmp_path, 60.0)  # raises where a rank fails
