"""Gathering and scattering by messages, on real processes beside what they should give."""

from __future__ import annotations

from pathlib import Path

import pytest

from jogak.targets.distributed.launch import finish, torchrun

_SCRIPT = """
import torch, torch.distributed as dist
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
average = mesh.reduce_scatter(torch.full((size,), float(rank)), axes, "average", 0).wait()
assert average.item() == (size - 1) / 2
dist.destroy_process_group()
"""


@pytest.mark.parametrize("processes", [2, 3])
def test_messages_do_what_collectives_do(processes: int, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(_SCRIPT)
    finish(torchrun(processes, str(script)), tmp_path, 60.0)  # raises where a rank fails
