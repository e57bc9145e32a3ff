from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jogak.runtime.sharded import shard_value
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.sharding import Sharding
from jogak.targets.distributed.rank.errors import RunError
from jogak.targets.distributed.rank.mesh import coordinates, partition
from jogak.targets.distributed.rank.values import Files, load_arguments, padded, trimmed, window_of

MESH = {"data": 2, "model": 4}


def test_a_window_counts_the_last_axis_fastest() -> None:
    place = coordinates(MESH, 6)
    assert place == {"data": 1, "model": 2}
    assert window_of("[data, _, model]", (4, 3, 8), MESH, place) == (slice(2, 4), slice(0, 3), slice(4, 6))
    assert window_of("[data model]", (16,), MESH, place) == (slice(12, 14),)
    assert window_of("[]", (), MESH, place) == ()


@pytest.mark.parametrize("size", range(1, 20))
def test_padded_pieces_are_those_of_the_compiler(size: int) -> None:
    mesh = Mesh(tuple(MESH), tuple(MESH.values()))
    whole = torch.arange(float(size)) + 1
    for text in ["[data]", "[model]", "[model data]"]:
        sharding = Sharding.parse(text)
        if not splits(size, sharding.dims[0], mesh):
            continue
        for rank, piece in enumerate(shard_value(whole, sharding, mesh)):
            window = window_of(text, (size,), MESH, coordinates(MESH, rank))
            assert torch.equal(padded(whole[window], sharding.local_shape((size,), mesh)), piece)
            assert torch.equal(trimmed(piece, window), whole[window])


def test_groups_are_those_of_the_compiler() -> None:
    mesh = Mesh(tuple(MESH), tuple(MESH.values()))
    for axes in [("data",), ("model",), ("data", "model"), ("model", "data")]:
        for members in partition(MESH, axes):
            assert members == mesh.group(members[0], axes)


def test_only_the_window_is_read(tmp_path: Path) -> None:
    whole = torch.arange(32.0).reshape(4, 8)
    save_file({"w": whole}, str(tmp_path / "a.safetensors"))
    with Files([tmp_path / "a.safetensors"]) as files:
        assert "w" in files
        part = files.read({"name": "w", "shape": [4, 8]}, (slice(1, 3), slice(4, 8)))
        assert torch.equal(part, whole[1:3, 4:8])
        assert part.untyped_storage().nbytes() == part.nbytes, "the rest of the rows is not held in memory"
        assert torch.equal(
            files.read({"name": "w", "shape": [2, 2, 8]}, (slice(0, 2), slice(1, 2), slice(0, 8))),
            whole[1::2].view(2, 1, 8),
        )
        with pytest.raises(RunError, match=r"'w' has shape \[4, 8\], but the program takes \[3\]"):
            files.read({"name": "w", "shape": [3]}, (slice(0, 1),))


def test_what_no_file_holds(tmp_path: Path) -> None:
    entries = [
        {"name": "m", "role": "optimizer_state", "shape": [4], "local_shape": [2], "sharding": "[data]"},
        {"name": "x", "role": "input", "shape": [4], "local_shape": [4], "sharding": "[_]"},
        {"name": "w", "role": "parameter", "shape": [4], "local_shape": [4], "sharding": "[_]"},
    ]
    types, device = [torch.float32] * 3, torch.device("cpu")
    with Files([]) as files:
        state, missing = load_arguments(entries[:2], files, MESH, coordinates(MESH, 0), types[:2], device)
        assert state is not None
        assert torch.equal(state, torch.zeros(2))
        assert missing is None
        with pytest.raises(RunError, match="no value for the parameter 'w'"):
            load_arguments(entries, files, MESH, coordinates(MESH, 0), types, device)


@pytest.mark.parametrize("content", [None, b"not safetensors"])
def test_a_bad_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"bad\.safetensors"):
        Files([path])
