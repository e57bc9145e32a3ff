"""The formulas of collectives: closed forms, and what holds for all of them."""

from __future__ import annotations

from math import ceil, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.cost.collectives import KINDS, Formula, Span, Topology, formulas

NODE = Span(8, bandwidth=300e9, latency=1e-6)
NETWORK = Span(4, bandwidth=25e9, latency=5e-6)
BYTES = 1 << 26


def by_algorithm(kind: str, *spans: Span, once: bool = False) -> dict[str, Formula]:
    found: dict[str, Formula] = {}
    for formula in formulas(kind, spans, once=once):
        best = found.get(formula.algorithm)
        if best is None or formula.seconds(BYTES) < best.seconds(BYTES):
            found[formula.algorithm] = formula
    return found


@pytest.mark.parametrize(
    ("kind", "algorithm", "alpha", "beta"),
    [
        ("all_gather", "ring", 7e-6, 7 / 8 / 300e9),
        ("reduce_scatter", "ring", 7e-6, 7 / 8 / 300e9),
        ("all_reduce", "ring", 14e-6, 14 / 8 / 300e9),
        ("all_reduce", "tree", 6e-6, 2 / 300e9),
        ("all_to_all", "pairwise", 7e-6, 7 / 8 / 300e9),
        ("send", "send", 1e-6, 1 / 300e9),
    ],
)
def test_behind_a_switch(kind, algorithm, alpha, beta):
    assert by_algorithm(kind, NODE)[algorithm] == Formula(algorithm, pytest.approx(alpha), pytest.approx(beta))


@pytest.mark.parametrize("n", [2, 3, 4, 7, 8])
def test_an_all_to_all_travels_the_distances_of_its_ring(n):
    """Every device sends an nth of what it holds to every other; a byte loads each link on its way."""
    one_way = sum(range(n))
    both_ways = sum(min(hop, n - hop) for hop in range(n))
    for topology, hops in ((Topology.RING, one_way), (Topology.TORUS, both_ways)):
        (formula,) = formulas("all_to_all", [Span(n, 1.0, 0.0, topology)])
        assert formula.beta == pytest.approx(hops / n)


@pytest.mark.parametrize(("n", "steps"), [(2, 1), (3, 1), (4, 2), (5, 2), (8, 4)])
def test_a_torus_needs_half_the_steps(n, steps):
    (formula,) = formulas("all_gather", [Span(n, 1.0, 1.0, Topology.TORUS)])
    assert formula.alpha == steps


@pytest.mark.parametrize("n", [3, 4, 5, 8, 9])
def test_a_tree_has_two_passes_over_its_height(n):
    assert by_algorithm("all_reduce", Span(n, 1.0, 1.0))["tree"].alpha == 2 * ceil(log2(n))


def test_a_ring_has_no_tree():
    assert set(by_algorithm("all_reduce", Span(8, 1.0, 1.0, Topology.RING))) == {"ring"}


def test_across_nodes_each_device_moves_its_share():
    """Reduce-scatter in the node, all-reduce of an eighth between nodes, all-gather in the node."""
    found = formulas("all_reduce", (NODE, NETWORK))
    ring_between = Formula(
        "hierarchical",
        pytest.approx(2 * 7 * 1e-6 + 2 * 3 * 5e-6),
        pytest.approx(2 * 7 / 8 / 300e9 + 2 * 3 / 4 / 8 / 25e9),
    )
    assert ring_between in found
    assert by_algorithm("all_reduce", NODE, NETWORK)["ring"].beta == pytest.approx(2 * 31 / 32 / 25e9)


def test_across_nodes_a_gather_sends_its_own_part_only():
    formula = by_algorithm("all_gather", NODE, NETWORK)["hierarchical"]
    assert formula.beta == pytest.approx(7 / 8 / 300e9 + 3 / 4 / 8 / 25e9)


def test_a_send_takes_the_slowest_link():
    assert formulas("send", (NODE, NETWORK)) == (Formula("send", 5e-6, 1 / 25e9),)


def test_latency_once():
    assert by_algorithm("all_reduce", NODE, once=True)["ring"].alpha == 1e-6


spans = st.builds(
    Span,
    st.integers(2, 64),
    st.floats(1e3, 1e12),
    st.floats(0, 1e-2),
    st.sampled_from(Topology),
)


@settings(deadline=None)
@given(
    st.sampled_from(KINDS),
    st.lists(spans, min_size=1, max_size=3),
    st.booleans(),
    st.floats(0, 1e12),
    st.floats(0, 1e12),
)
def test_no_price_is_negative_or_falls_with_bytes(kind, levels, once, fewer, more):
    fewer, more = sorted((fewer, more))
    found = formulas(kind, levels, once=once)
    assert found
    assert all(0 <= formula.seconds(fewer) <= formula.seconds(more) for formula in found)


@settings(deadline=None)
@given(
    st.sampled_from(["all_reduce", "all_gather", "reduce_scatter"]),
    st.lists(spans, min_size=2, max_size=3),
    st.floats(0, 1e12),
)
def test_hierarchical_is_never_slower_than_a_ring_over_all_levels(kind, levels, bytes_):
    """Where no inner level is slower than an outer one: then each byte crosses the slow links less often."""
    bandwidths = sorted((span.bandwidth for span in levels), reverse=True)
    latencies = sorted(span.latency for span in levels)
    ordered = [
        Span(span.devices, bandwidth, latency)
        for span, bandwidth, latency in zip(levels, bandwidths, latencies, strict=True)
    ]
    found = formulas(kind, ordered)
    ring = next(formula for formula in found if formula.algorithm == "ring")
    best = min(formula.seconds(bytes_) for formula in found if formula.algorithm == "hierarchical")
    assert best <= ring.seconds(bytes_) * (1 + 1e-9)


def test_a_permute_is_a_send_behind_a_switch_and_shares_the_links_of_a_ring():
    assert [(f.alpha, f.beta) for f in formulas("permute", (NODE,))] == [
        (f.alpha, f.beta) for f in formulas("send", (NODE,))
    ]
    ring = Span(4, 1e9, 1e-6, Topology.RING)
    (found,) = formulas("permute", (ring,))
    assert (found.alpha, found.beta) == pytest.approx((3e-6, 1.5e-9))
