"""Fits of measured times, and the machine file that is made of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jogak.cost.kernel import Arithmetic, Form
from jogak.cost.machine_file import parse_machine
from jogak.cost.model import Roofline
from jogak.probe.fit import fit_line, fit_lines, fit_plane, geometric_mean
from jogak.probe.links import factors
from jogak.probe.machine import Host, machine_file
from jogak.probe.measurement import (
    CONTRACTION,
    CONVOLUTION,
    OVERHEAD,
    SPECIAL,
    VECTOR,
    CollectiveTime,
    KernelTime,
)
from jogak.sharding.mesh import Mesh

HOST = Host("box", "Some Processor", 2, 1 << 30, "2.13.0", "2026-01-01")
SIZES = (1 << 10, 1 << 17, 1 << 22)


@given(st.floats(0, 1e-2), st.floats(1e-11, 1e-6))
def test_a_line_is_found_again(alpha, beta):
    found = fit_line(SIZES, [alpha + beta * size for size in SIZES])
    assert found.alpha == pytest.approx(alpha, rel=1e-5, abs=1e-9)
    assert found.beta == pytest.approx(beta, rel=1e-4)
    assert found.error < 1e-4


@given(st.lists(st.floats(1e-6, 1.0), min_size=3, max_size=3))
def test_a_fitted_line_never_falls_and_is_never_negative(seconds):
    found = fit_line(SIZES, seconds)
    assert found.alpha >= 0
    assert found.beta > 0


def test_noise_moves_the_line_little():
    noisy = [(1e-4 + size / 1e9) * factor for size, factor in zip(SIZES, (1.1, 0.9, 1.05), strict=True)]
    found = fit_line(SIZES, noisy)
    assert found.alpha == pytest.approx(1e-4, rel=0.15)
    assert found.beta == pytest.approx(1e-9, rel=0.15)
    assert found.error < 0.15


@given(st.floats(1e-5, 1e-2), st.floats(1e-10, 1e-7), st.floats(1e-10, 1e-7))
def test_lines_with_a_common_constant_are_found_again(alpha, first, second):
    slopes = {"first": first, "second": second}
    found = fit_lines({name: (SIZES, [alpha + beta * size for size in SIZES]) for name, beta in slopes.items()})
    for name, beta in slopes.items():
        assert found[name].alpha == pytest.approx(alpha, rel=1e-3)
        assert found[name].beta == pytest.approx(beta, rel=1e-3)
        assert found[name].error < 1e-3


def test_noise_does_not_make_a_common_constant_small():
    """Relative to measured times a fit would follow those that are too short: 1.5e-3 here."""
    found = fit_lines({"all_gather": ([1.0] * 6, [1e-3, 9e-3, 3e-3, 7e-3, 2e-3, 8e-3])})
    assert found["all_gather"].alpha == pytest.approx(5e-3, rel=0.02)


PRODUCTS = [(2.0 * m * k * n, 4.0 * (m * k + k * n + m * n)) for m, k, n in ((32, 64, 64), (256,) * 3, (64, 512, 512))]


@given(st.floats(0, 1e-3), st.floats(1e-11, 1e-9), st.floats(0, 1e-8))
def test_a_plane_is_found_again(alpha, beta, gamma):
    flops, moved = zip(*PRODUCTS, strict=True)
    times = [alpha + beta * f + gamma * b for f, b in PRODUCTS]
    found = fit_plane(flops, moved, times)
    assert found.error < 1e-3
    assert all(value >= 0 for value in (found.alpha, found.gamma))
    assert found.beta > 0


def test_bytes_that_make_no_difference_cost_nothing():
    flops, moved = zip(*PRODUCTS, strict=True)
    found = fit_plane(flops, moved, [1e-4 + f / 1e10 for f in flops])
    assert found.gamma == pytest.approx(0, abs=1e-14)
    assert found.beta == pytest.approx(1e-10, rel=1e-3)


def test_geometric_mean():
    assert geometric_mean([1.0, 100.0]) == pytest.approx(10)


@pytest.mark.parametrize(("number", "expected"), [(1, []), (2, [2]), (4, [2, 2]), (6, [3, 2]), (12, [3, 2, 2])])
def test_factors(number, expected):
    assert factors(number) == expected


def kernels() -> Iterator[KernelTime]:
    yield KernelTime(OVERHEAD, VECTOR, "f32", 8, 96, 3e-6)
    for flops, moved in ((1e6, 4e5), (1e9, 1e6), (1e9, 1e8)):
        yield KernelTime(CONTRACTION, "matmul", "f32", flops, moved, 2e-5 + flops / 5e10 + moved / 1e9)
        yield KernelTime(CONVOLUTION, "convolution", "f32", flops, moved, 1e-5 + flops / 1e11)
    yield KernelTime(CONTRACTION, "matmul", "bf16", 1e9, 1e6, 1e9 / 2e11)
    for rate in (1e10, 4e10):
        yield KernelTime(VECTOR, "add", "f32", 1 << 20, 12 << 20, (12 << 20) / rate)
    yield KernelTime(SPECIAL, "exp", "f32", 1e6, 8e6, 1e6 / 2e8 + 8e6 / 2e10)


def test_a_machine_file_says_what_was_measured():
    links = [
        CollectiveTime(kind, devices, size, devices * 1e-4 + size / 1e9, 1e-5)
        for kind, devices in (("all_reduce", 2), ("all_reduce", 4), ("all_gather", 4))
        for size in SIZES
    ]
    text = machine_file(HOST, 4, list(kernels()), links, 2.0)
    machine = parse_machine(text, "test")
    assert machine.devices == 4
    assert machine.device.memory_bytes == 1 << 28
    assert machine.rate("f32") == pytest.approx(5e10 / 2, rel=0.01), "two ranks share a core"
    assert machine.traffic(Form.CONTRACTION) == pytest.approx(1e9 / 2, rel=0.01)
    assert machine.traffic(Form.CONVOLUTION) is None
    assert machine.traffic(Form.VECTOR) is None
    assert machine.rate("f32", Form.CONVOLUTION) == pytest.approx(1e11 / 2, rel=0.01)
    assert machine.memory_bandwidth == pytest.approx(2e10 / 2, rel=0.01)
    assert not machine.overlap
    assert machine.overhead(Form.CONTRACTION) == pytest.approx(2 * 2e-5, rel=0.01)
    assert machine.overhead(Form.CONVOLUTION) == pytest.approx(2 * 1e-5, rel=0.01)
    assert machine.overhead(Form.VECTOR) == pytest.approx(2 * 3e-6)
    assert text.count("\n# ") == len(list(kernels())) + len(links) + 1
    cost = Roofline(machine, Mesh.parse("data=2,model=2"))
    assert cost.collective("all_reduce", ("data",), 1e6) == pytest.approx(2e-4 + 1e-3, rel=0.01)
    assert cost.collective("all_reduce", ("data", "model"), 1e6) == pytest.approx(4e-4 + 1e-3, rel=0.01)
    assert cost.collective("all_gather", ("data",), 1e6) == pytest.approx(4e-4 / 3 + 1e-3 * 2 / 3, rel=0.01), "a ring"


def test_an_engine_without_fusion_goes_over_memory_for_each_operation():
    text = machine_file(HOST, 2, list(kernels()), [], 1.0)
    cost = Roofline(parse_machine(text, "test"), Mesh.parse("data=2"))
    count = 1e6
    once = cost.kernel("f32", count, 12 * count, Arithmetic())
    thrice = cost.kernel("f32", 3 * count, 12 * count, Arithmetic(operations=3, steps=3, passes=3))
    special = cost.kernel("f32", count, 12 * count, Arithmetic(special=1))
    assert once == pytest.approx(3e-6 + 12 * count / 2e10, rel=0.01)
    assert thrice == pytest.approx(9e-6 + (12 + 2 * 2 * 4) * count / 2e10, rel=0.01)
    assert special == pytest.approx(once + count / 2e8, rel=0.01)


def test_a_product_moves_its_operands_besides_its_arithmetic():
    cost = Roofline(parse_machine(machine_file(HOST, 2, list(kernels()), [], 1.0), "test"), Mesh.parse("data=2"))
    product = cost.kernel("f32", 1e9, 1e8, Arithmetic(Form.CONTRACTION, 2, 0, 2, 2))
    assert product == pytest.approx(2e-5 + 1e9 / 5e10 + 1e8 / 1e9, rel=0.01)
