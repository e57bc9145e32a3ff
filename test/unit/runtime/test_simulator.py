"""Collectives against values computed by hand, counts, deadlocks and mismatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.counts import Count
from jogak.runtime.program import Program
from jogak.runtime.simulator import SimulationError, SimulationResult, simulate
from jogak.sharding.mesh import Mesh

MESHES = {"4": Mesh(("a",), (4,)), "2x4": Mesh(("a", "b"), (2, 4)), "2x2x2": Mesh(("a", "b", "c"), (2, 2, 2))}
T = "tensor<4x4xf32>"


def program(shape: str, body: str, result: str, arguments: str = f"%x: {T}") -> str:
    axes = ", ".join(f'"{axis}"' for axis in MESHES[shape].axes)
    return f"""shard.grid @mesh(shape = {shape}) {{jogak.axes = [{axes}]}}
    func.func @main({arguments}) -> {result} {{
      {body}
      return %y : {result}
    }}"""


def piece(device: int) -> Tensor:
    """A different tensor on every device."""
    return torch.arange(16.0).reshape(4, 4) + 100 * device


@pytest.fixture
def spmd(load: Callable[[str], Program]) -> Callable[..., SimulationResult]:
    """Run one program on every device of a mesh, with `piece(device)` as its argument."""

    def call(shape: str, body: str, result: str = T, **options: Any) -> SimulationResult:
        mesh = MESHES[shape]
        inputs = [{"arg0": piece(device)} for device in range(mesh.devices)]
        return simulate(load(program(shape, body, result)), mesh, inputs, **options)

    return call


GROUPS = [("4", "0"), ("2x4", "0"), ("2x4", "1"), ("2x4", "0, 1"), ("2x4", "1, 0"), ("2x2x2", "2, 0"), ("2x2x2", "1")]


def members(shape: str, axes: str, device: int) -> list[int]:
    """The group of a device, by hand: all devices that agree on the other axes, ordered by the listed ones."""
    mesh = MESHES[shape]
    listed = [int(axis) for axis in axes.split(", ")]
    place = list(mesh.coordinates(device).values())[::-1]
    found = []
    for other in range(mesh.devices):
        there = list(mesh.coordinates(other).values())[::-1]
        if all(there[k] == place[k] for k in range(len(place)) if k not in listed):
            found.append(([there[k] for k in listed], other))
    return [other for _, other in sorted(found)]


@pytest.mark.parametrize(("shape", "axes"), GROUPS)
def test_all_reduce(spmd: Any, shape: str, axes: str) -> None:
    got = spmd(shape, f"%y = shard.all_reduce %x on @mesh grid_axes = [{axes}] : {T} -> {T}")
    for device, (output,) in enumerate(got.outputs):
        assert torch.equal(output, sum(piece(other) for other in members(shape, axes, device)))


@pytest.mark.parametrize("kind", ["max", "min", "product"])
def test_reductions(spmd: Any, kind: str) -> None:
    got = spmd("4", f"%y = shard.all_reduce %x on @mesh grid_axes = [0] reduction = {kind} : {T} -> {T}")
    stacked = torch.stack([piece(device) for device in range(4)])
    expected = {"max": stacked.amax(0), "min": stacked.amin(0), "product": stacked.prod(0)}[kind]
    torch.testing.assert_close(got.outputs[2][0], expected)


def test_all_reduce_accumulates_in_the_result_type(load: Any) -> None:
    body = "%y = shard.all_reduce %x on @mesh grid_axes = [0] : tensor<1xbf16> -> tensor<1xf32>"
    text = program("4", body, "tensor<1xf32>", "%x: tensor<1xbf16>")
    values = [256.0, 1.0, 1.0, 1.0]
    got = simulate(load(text), MESHES["4"], [{"arg0": torch.tensor([value]).bfloat16()} for value in values])
    assert got.outputs[0][0].tolist() == [259.0]


@pytest.mark.parametrize(("shape", "axes"), GROUPS)
@pytest.mark.parametrize("dim", [0, 1])
def test_all_gather(spmd: Any, shape: str, axes: str, dim: int) -> None:
    parts = len(members(shape, axes, 0))
    result = f"tensor<{4 * parts}x4xf32>" if dim == 0 else f"tensor<4x{4 * parts}xf32>"
    body = f"%y = shard.all_gather %x on @mesh grid_axes = [{axes}] gather_axis = {dim} : {T} -> {result}"
    got = spmd(shape, body, result)
    for device, (output,) in enumerate(got.outputs):
        assert torch.equal(output, torch.cat([piece(other) for other in members(shape, axes, device)], dim))


@pytest.mark.parametrize(("shape", "axes"), [group for group in GROUPS if group[1].count(",") == 0])
def test_reduce_scatter_all_slice_and_all_to_all(spmd: Any, shape: str, axes: str) -> None:
    parts = len(members(shape, axes, 0))
    half = f"tensor<{4 // parts}x4xf32>"
    scatter = f"%y = shard.reduce_scatter %x on @mesh grid_axes = [{axes}] scatter_dim = 0 : {T} -> {half}"
    slices = f"%y = shard.all_slice %x on @mesh grid_axes = [{axes}] slice_axis = 0 : {T} -> {half}"
    wide = f"tensor<{4 // parts}x{4 * parts}xf32>"
    exchange = f"%y = shard.all_to_all %x on @mesh grid_axes = [{axes}] split_axis = 0 concat_axis = 1 : {T} -> {wide}"
    scattered, sliced, exchanged = spmd(shape, scatter, half), spmd(shape, slices, half), spmd(shape, exchange, wide)
    for device in range(MESHES[shape].devices):
        group = members(shape, axes, device)
        rows = piece(0).chunk(parts)[group.index(device)]
        own = [rows + 100 * other for other in group]
        assert torch.equal(scattered.outputs[device][0], sum(own))
        assert torch.equal(sliced.outputs[device][0], rows + 100 * device)
        assert torch.equal(exchanged.outputs[device][0], torch.cat(own, 1))
    assert sliced.collectives.by_kind == {}


def test_slice_after_gather_over_reversed_axes_gives_the_piece_back(spmd: Any) -> None:
    wide = "tensor<4x32xf32>"
    body = f"""%g = shard.all_gather %x on @mesh grid_axes = [1, 0] gather_axis = 1 : {T} -> {wide}
      %y = shard.all_slice %g on @mesh grid_axes = [1, 0] slice_axis = 1 : {wide} -> {T}"""
    for device, (output,) in enumerate(spmd("2x4", body).outputs):
        assert torch.equal(output, piece(device))


def test_where_a_device_is(spmd: Any) -> None:
    body = """%i:2 = shard.process_multi_index on @mesh : index, index
      %j = shard.process_multi_index on @mesh axes = [1] : index
      %l = shard.process_linear_index on @mesh : index
      %s:2 = shard.grid_shape @mesh axes = [1, 0] : index, index
      %n:2 = shard.neighbors_linear_indices on @mesh[%i#0, %i#1] split_axes = [1] : index, index
      %y = tensor.from_elements %i#0, %i#1, %j, %l, %s#0, %s#1, %n#0, %n#1 : tensor<8xindex>"""
    got = spmd("2x4", body, "tensor<8xindex>")
    assert got.outputs[4][0].tolist() == [1, 0, 0, 4, 4, 2, -1, 5]
    assert got.outputs[7][0].tolist() == [1, 3, 3, 7, 4, 2, 6, -1]


def test_rooted_collectives(spmd: Any) -> None:
    broadcast = spmd("2x4", f"%y = shard.broadcast %x on @mesh grid_axes = [1] root = [2] : ({T}) -> {T}")
    assert [output[0][0, 0].item() for output in broadcast.outputs] == [200.0] * 4 + [600.0] * 4
    body = f"%y = shard.gather %x on @mesh grid_axes = [0] gather_axis = 0 root = [1] : ({T}) -> tensor<8x4xf32>"
    gathered = spmd("2x4", body, "tensor<8x4xf32>")
    assert torch.equal(gathered.outputs[5][0], torch.cat([piece(1), piece(5)]))
    assert gathered.outputs[1][0].isnan().all()
    reduced = spmd("2x4", f"%y = shard.reduce %x on @mesh grid_axes = [0] root = [0] : ({T}) -> {T}")
    assert torch.equal(reduced.outputs[3][0], piece(3) + piece(7))
    body = f"%y = shard.scatter %x on @mesh grid_axes = [1] scatter_dim = 0 root = [3] : ({T}) -> tensor<1x4xf32>"
    scattered = spmd("2x4", body, "tensor<1x4xf32>")
    assert torch.equal(scattered.outputs[6][0], piece(7)[2:3])


def test_shift(spmd: Any) -> None:
    ring = spmd("4", f"%y = shard.shift %x on @mesh grid_axes = [0] shift_axis = 0 offset = 1 rotate : {T} -> {T}")
    assert [output[0][0, 0].item() for output in ring.outputs] == [300.0, 0.0, 100.0, 200.0]
    line = spmd("4", f"%y = shard.shift %x on @mesh grid_axes = [0] shift_axis = 0 offset = 1 : {T} -> {T}")
    assert line.outputs[0][0].isnan().all()


def test_halo_of_two_dimensions_carries_corners(load: Any) -> None:
    mesh = Mesh(("a", "b"), (2, 2))
    body = "%y = shard.update_halo %x on @mesh split_axes = [[0], [1]] halo_sizes = [1, 1, 1, 1] : tensor<4x4xf32>"
    text = f"""shard.grid @mesh(shape = 2x2) {{jogak.axes = ["a", "b"]}}
    func.func @main(%x: {T}) -> {T} {{
      {body}
      return %y : {T}
    }}"""
    whole = torch.arange(16.0).reshape(4, 4)
    padded = torch.nn.functional.pad(whole, (1, 1, 1, 1), value=-1.0)
    starts = [(0, 0), (0, 2), (2, 0), (2, 2)]
    windows = [padded[r : r + 4, c : c + 4].clone() for r, c in starts]
    inputs = []
    for window in windows:
        blank = torch.full((4, 4), -1.0)
        blank[1:3, 1:3] = window[1:3, 1:3]
        inputs.append({"arg0": blank})
    got = simulate(load(text), mesh, inputs)
    assert all(torch.equal(output[0], window) for output, window in zip(got.outputs, windows, strict=True))


def test_send_and_receive_between_different_programs(load: Any) -> None:
    send = f"%y = shard.send %x on @mesh grid_axes = [0] destination = [3] : ({T}) -> {T}"
    receive = f"%y = shard.recv %x on @mesh grid_axes = [0] source = [0] : ({T}) -> {T}"
    programs = [
        load(program("4", body, T))
        for body in (send, "%y = arith.negf %x : " + T, "%y = arith.negf %x : " + T, receive)
    ]
    got = simulate(programs, MESHES["4"], [{"arg0": piece(device)} for device in range(4)])
    assert torch.equal(got.outputs[3][0], piece(0))
    assert got.collectives.by_kind == {"send_recv": {"a": Count(1, 64)}}
    assert got.collectives.per_device[3] == {}


def test_dynamic_peers(spmd: Any) -> None:
    body = f"""%i = shard.process_multi_index on @mesh axes = [0] : index
      %c3 = arith.constant 3 : index
      %j = arith.subi %c3, %i : index
      %s = shard.send %x on @mesh grid_axes = [0] destination = [%j] : ({T}, index) -> {T}
      %y = shard.recv %x on @mesh grid_axes = [0] source = [%j] : ({T}, index) -> {T}"""
    assert [output[0][0, 0].item() for output in spmd("4", body).outputs] == [300.0, 200.0, 100.0, 0.0]


def test_a_receive_of_what_a_send_leaves_is_a_permute(spmd: Any) -> None:
    body = f"""%i = shard.process_multi_index on @mesh axes = [0] : index
      %c1 = arith.constant 1 : index
      %c3 = arith.constant 3 : index
      %c4 = arith.constant 4 : index
      %u = arith.addi %i, %c1 : index
      %v = arith.addi %i, %c3 : index
      %up = arith.remui %u, %c4 : index
      %down = arith.remui %v, %c4 : index
      %s = shard.send %x on @mesh grid_axes = [0] destination = [%up] : ({T}, index) -> {T}
      %y = shard.recv %s on @mesh grid_axes = [0] source = [%down] : ({T}, index) -> {T}"""
    got = spmd("4", body)
    assert [output[0][0, 0].item() for output in got.outputs] == [300.0, 0.0, 100.0, 200.0]
    assert got.collectives.by_kind == {"permute": {"a": Count(1, 64)}}


def test_a_permute_whose_halves_do_not_match_is_refused(spmd: Any) -> None:
    body = f"""%i = shard.process_multi_index on @mesh axes = [0] : index
      %c0 = arith.constant 0 : index
      %s = shard.send %x on @mesh grid_axes = [0] destination = [%c0] : ({T}, index) -> {T}
      %y = shard.recv %s on @mesh grid_axes = [0] source = [%i] : ({T}, index) -> {T}"""
    with pytest.raises(JogakError, match="receives from other devices than those that send"):
        spmd("4", body)


def test_counts(spmd: Any) -> None:
    body = f"""%a = shard.all_reduce %x on @mesh grid_axes = [0, 1] : {T} -> {T}
      %b = shard.all_reduce %a on @mesh grid_axes = [1] : {T} -> {T}
      %c = shard.all_reduce %b on @mesh grid_axes = [1] : {T} -> {T}
      %y = shard.all_gather %c on @mesh grid_axes = [0] gather_axis = 0 : {T} -> tensor<8x4xf32>"""
    got = spmd("2x4", body, "tensor<8x4xf32>", precision="f64")
    assert got.collectives.by_kind == {
        "all_gather": {"a": Count(1, 128)},
        "all_reduce": {"a,b": Count(1, 64), "b": Count(2, 128)},
    }
    assert got.collectives.total("all_reduce") == Count(3, 192)
    assert got.outputs[0][0].dtype == torch.float64


REDUCE = "shard.all_reduce %x on @mesh grid_axes = [0]"


@pytest.mark.parametrize(("other", "message"), [
    (f"%y = {REDUCE} reduction = max : {T} -> {T}", r"device 2: all_reduce \(max\)"),
    (f"%z = shard.all_gather %x on @mesh grid_axes = [0] gather_axis = 0 : {T} -> tensor<16x4xf32>\n"
     f"%y = tensor.extract_slice %z[0, 0] [4, 4] [1, 1] : tensor<16x4xf32> to {T}", "device 2: all_gather on a"),
    (f"%s = tensor.extract_slice %x[0, 0] [2, 4] [1, 1] : {T} to tensor<2x4xf32>\n"
     "%r = shard.all_reduce %s on @mesh grid_axes = [0] : tensor<2x4xf32> -> tensor<2x4xf32>\n"
     f"%y = arith.addf %x, %x : {T}", r"tensor<2x4xf32> -> tensor<2x4xf32> at -:4"),
])  # fmt: skip
def test_mismatch(load: Any, other: str, message: str) -> None:
    usual = load(program("4", f"%y = {REDUCE} : {T} -> {T}", T))
    programs = [usual, usual, load(program("4", other, T)), usual]
    with pytest.raises(SimulationError, match="do not match") as caught:
        simulate(programs, MESHES["4"], [{"arg0": piece(device)} for device in range(4)])
    assert caught.match(message)


def test_deadlock_says_who_waits_where(load: Any) -> None:
    first = load(program("2x4", f"%y = {REDUCE} : {T} -> {T}", T))
    second = load(program("2x4", f"%y = arith.negf %x : {T}", T))
    with pytest.raises(SimulationError, match="deadlock") as caught:
        simulate([first] * 4 + [second] * 4, MESHES["2x4"], [{"arg0": piece(device)} for device in range(8)])
    assert caught.match(r"device 1: all_reduce \(sum\) on a .* at -:3, waits for 5; finished already: 5")


def test_crossed_groups_deadlock(load: Any) -> None:
    along_a = f"%z = shard.all_reduce %x on @mesh grid_axes = [0] : {T} -> {T}\n"
    along_b = f"%y = shard.all_reduce %z on @mesh grid_axes = [1] : {T} -> {T}"
    reversed_ = f"%z = shard.all_reduce %x on @mesh grid_axes = [1] : {T} -> {T}\n"
    reversed_ += f"%y = shard.all_reduce %z on @mesh grid_axes = [0] : {T} -> {T}"
    programs = [load(program("2x4", reversed_ if device in (0, 5) else along_a + along_b, T)) for device in range(8)]
    with pytest.raises(SimulationError, match="device 0: all_reduce"):
        simulate(programs, MESHES["2x4"], [{"arg0": piece(device)} for device in range(8)])


def test_receiving_what_nobody_sends_and_sending_what_nobody_receives(spmd: Any) -> None:
    with pytest.raises(SimulationError, match=r"recv on a from \[1\]"):
        spmd("4", f"%y = shard.recv %x on @mesh grid_axes = [0] source = [1] : ({T}) -> {T}")
    with pytest.raises(SimulationError, match="never received"):
        spmd("4", f"%y = shard.send %x on @mesh grid_axes = [0] destination = [1] : ({T}) -> {T}")


@pytest.mark.parametrize(("inputs", "message"), [
    ({}, "no value is given"),
    ({"arg0": torch.zeros(4, 4), "other": torch.zeros(1)}, "no argument 'other'"),
    ({"arg0": torch.zeros(4, 3)}, "shape 4x3 is given for tensor<4x4xf32>"),
    ({"arg0": torch.zeros(4, 4, dtype=torch.float64)}, r"torch\.float64 is given"),
])  # fmt: skip
def test_wrong_inputs(load: Any, inputs: dict[str, Tensor], message: str) -> None:
    usual = load(program("4", f"%y = {REDUCE} : {T} -> {T}", T))
    with pytest.raises(SimulationError, match=message):
        simulate(usual, MESHES["4"], [inputs] * 4)


def test_wrong_number_of_programs_and_wrong_mesh(load: Any) -> None:
    usual = load(program("4", f"%y = {REDUCE} : {T} -> {T}", T))
    with pytest.raises(SimulationError, match="3 programs and 4 inputs"):
        simulate([usual] * 3, MESHES["4"], [{}] * 4)
    with pytest.raises(SimulationError, match="cannot run on the mesh"):
        simulate(usual, MESHES["2x4"], [{}] * 8)
