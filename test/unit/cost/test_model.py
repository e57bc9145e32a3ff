"""The cost model: rooflines, Alpa's closed forms, caching, plug-ins."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.cost.collectives import KINDS
from jogak.cost.kernel import PLAIN, Arithmetic
from jogak.cost.machine import Achieved, Device, Level, Machine
from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine, presets, read_machine
from jogak.cost.model import ROOFLINE, CostModel, Roofline, cost_model
from jogak.errors import JogakError
from jogak.plugin import Plugin
from jogak.registry import Registry, default_registry
from jogak.sharding.mesh import Mesh
from jogak.sharding.reshard import route
from jogak.sharding.sharding import Sharding

ALPHA_BETA = read_machine(Path(__file__).parent / "alpha-beta-1.toml")
BYTES = st.floats(0, 1e13)


def roofline(machine: str = DEFAULT_MACHINE, mesh: str = "data=2,model=8") -> Roofline:
    return Roofline(load_machine(machine), Mesh.parse(mesh))


def test_a_kernel_takes_the_slower_of_arithmetic_and_memory():
    device = Device(1 << 30, 1e12, (("f32", 1e13), ("bf16", 1e14)), kernel_overhead=1e-6)
    machine = Machine("test", device, (Level("links", 1e9, 0.0),), achieved=Achieved(compute=0.5, memory=0.8))
    cost = Roofline(machine, Mesh.parse("2"))
    assert cost.kernel("f32", 1e13, 1.0) == pytest.approx(2 + 1e-6)
    assert cost.kernel("bf16", 1e13, 1.0) == pytest.approx(0.2 + 1e-6)
    assert cost.kernel("f32", 1.0, 1e12) == pytest.approx(1.25 + 1e-6)
    assert cost.copy(1e12) == pytest.approx(2.5 + 1e-6)


@pytest.mark.parametrize("mesh", ["a=4,b=1", "a=1,b=4"])
@pytest.mark.parametrize(
    ("count", "bytes_", "expected"),
    [
        (2, 128 * 128 * 4, 196_610.02),  # A1: data parallel
        (1, 128 * 1024 * 4, 786_433.01),  # A2: column then row
        (2, 1024 * 1024 * 4, 12_582_914.02),  # A3
        (12, 128 * 128 * 4, 1_179_660.12),  # A4
        (11, 128 * 1024 * 4, 8_650_763.11),  # A5
        (1, 4 * 128 * 512 * 4, 1_572_865.01),  # A9: heads
        (5, 32 * 256 * 4, 245_765.05),  # A13
        (7, 32768, 344_071.07),  # A15
        (11, 32768, 540_683.11),  # A16
    ],
)
def test_alpas_closed_forms_of_all_reduces(mesh, count, bytes_, expected):
    parsed = Mesh.parse(mesh)
    axis = next(axis for axis in parsed.axes if parsed.sizes[axis] == 4)
    assert count * Roofline(ALPHA_BETA, parsed).collective("all_reduce", (axis,), bytes_) == pytest.approx(expected)


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_alpas_other_collectives(n):
    """With B the bytes that all devices hold together; an all-to-all is priced by what one device holds."""
    cost = Roofline(ALPHA_BETA, Mesh(("a",), (n,)))
    whole = 4096.0
    assert cost.collective("all_gather", ("a",), whole) == pytest.approx(1 + (n - 1) / n * whole + 0.1)
    assert cost.collective("reduce_scatter", ("a",), whole) == pytest.approx(1 + (n - 1) / n * whole + 0.001)
    assert cost.collective("all_to_all", ("a",), whole / n) == pytest.approx(1 + (n - 1) / n**2 * whole * n / 2 + 0.001)


def test_alpas_arithmetic_is_free():
    cost = Roofline(ALPHA_BETA, Mesh.parse("a=4"))
    assert cost.kernel("f32", 1e15, 1e15) == cost.copy(1e15) == 0


def test_an_axis_of_one_device_costs_nothing():
    assert all(roofline(mesh="data=1,model=4").collective(kind, ("data",), 1e9) == 0 for kind in KINDS)


@settings(deadline=None)
@given(
    st.sampled_from(presets()), st.sampled_from(KINDS), st.sampled_from(["4x4", "2x8", "3x2", "64x64"]), BYTES, BYTES
)
def test_prices_of_presets_rise_with_bytes(preset, kind, mesh, fewer, more):
    fewer, more = sorted((fewer, more))
    cost = roofline(preset, mesh)
    for axes in (("data",), ("model",), ("data", "model")):
        assert 0 <= cost.collective(kind, axes, fewer) <= cost.collective(kind, axes, more)
    assert 0 <= cost.kernel("f32", fewer, fewer) <= cost.kernel("f32", more, more)
    assert 0 <= cost.copy(fewer) <= cost.copy(more)


@settings(deadline=None)
@given(st.sampled_from(["all_reduce", "all_gather", "reduce_scatter"]), BYTES)
def test_a_node_is_faster_than_the_network(kind, bytes_):
    cost = roofline(mesh="data=8,model=8")
    assert cost.collective(kind, ("model",), bytes_) <= cost.collective(kind, ("data",), bytes_)


def test_equal_models_share_cached_routes():
    """Models are keys of a cache: two of the same machine and mesh are one key, another machine is another."""
    one, same, other = roofline(), roofline(), roofline("h100-sxm")
    assert (one, hash(one)) == (same, hash(same))
    assert one != other
    source, target = Sharding.parse("[data, _]"), Sharding.parse("[_, data]")
    routes = [route(source, target, (64, 64), 4, one.mesh, each) for each in (one, same, other)]
    assert routes[0] is routes[1]
    assert routes[0].seconds > routes[2].seconds


class _Flat:
    """A third party's model: every collective takes a second."""

    def __init__(self, machine: Machine, mesh: Mesh) -> None:
        self.machine, self.mesh = machine, mesh

    def collective(self, kind: str, axes: tuple[str, ...], bytes_: float) -> float:
        return 1.0

    def kernel(self, element: str, flops: float, bytes_: float, arithmetic: Arithmetic = PLAIN) -> float:
        return 0.0

    def copy(self, bytes_: float) -> float:
        return 0.0


def test_a_plugin_brings_a_cost_model():
    registry = Registry()
    registry.add(Plugin("third", cost_models={"flat": lambda: _Flat}), "a test")
    machine, mesh = load_machine(DEFAULT_MACHINE), Mesh.parse("data=2")
    found: CostModel = cost_model("flat", machine, mesh, registry)
    source, target = Sharding.parse("[data]"), Sharding.parse("[_]")
    assert route(source, target, (4,), 4, mesh, found).seconds == 1


def test_the_default_is_a_plugin_like_any_other():
    mesh = Mesh.parse("data=2")
    assert cost_model(ROOFLINE, load_machine(DEFAULT_MACHINE), mesh, default_registry()) == roofline(mesh="data=2")


def test_an_unknown_cost_model_is_named_with_the_nearest():
    with pytest.raises(JogakError) as caught:
        cost_model("rooflin", load_machine(DEFAULT_MACHINE), Mesh.parse("data=2"), default_registry())
    assert caught.value.message == "unknown cost model 'rooflin'"
    assert caught.value.hint == "did you mean 'roofline'?"
