"""Cuts of dimensions as plain data."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jogak.ir.rewrite.build import regroup
from jogak.ir.rewrite.factors import Factors, Group, Window, block_of


def test_reshape_carries_cuts_both_ways() -> None:
    factors = Factors()
    batch, width, tokens, other = (factors.new(size) for size in (4, 12, 48, 48))
    heads, size = factors.new(3), factors.new(4)
    factors.unify(tokens, other)
    factors.edges += [Group((batch, width), tokens), Group((heads, size), width)]
    factors.propagate()
    assert factors.pieces(width) == (3, 4)
    assert factors.pieces(other) == (4, 3, 4)
    assert factors.pieces(batch) == (4,)


def test_contradicting_cut_is_refused() -> None:
    factors = Factors()
    node = factors.new(6)
    assert factors.cut(node, 3)
    assert not factors.cut(node, 2)
    assert factors.pieces(node) == (2, 3)


@pytest.mark.parametrize("at", [0, 1, 5, 12, 24])
def test_impossible_cut_is_refused(at: int) -> None:
    factors = Factors()
    node = factors.new(12)
    assert not factors.cut(node, at)


def test_frozen_node_refuses_cuts_of_all_it_is_unified_with() -> None:
    factors = Factors()
    frozen, free = factors.new(12), factors.new(12)
    factors.freeze(frozen)
    factors.unify(free, frozen)
    assert not factors.cut(free, 4)


def test_slice_passes_a_cut_only_if_its_bounds_are_multiples() -> None:
    factors = Factors()
    whole, aligned, crooked = factors.new(12), factors.new(8), factors.new(8)
    factors.edges += [Window(whole, aligned, 4), Window(whole, crooked, 2)]
    factors.cut(whole, 4)
    factors.propagate()
    assert factors.pieces(aligned) == (2, 4)
    assert factors.pieces(crooked) == (8,)


def test_heads_of_a_slice_cut_the_fused_projection() -> None:
    factors = Factors()
    fused, queries = factors.new(3 * 12), factors.new(12)
    heads, size = factors.new(3), factors.new(4)
    factors.cut(fused, 12)
    factors.edges += [Window(fused, queries, 12), Group((heads, size), queries)]
    factors.propagate()
    assert factors.pieces(fused) == (3, 3, 4)


@pytest.mark.parametrize(
    ("pieces", "offset", "size", "expected"),
    [((12,), 3, 5, (3, 5)), ((3, 4), 4, 8, (1, 2)), ((3, 4), 2, 4, None), ((3, 2, 2), 4, 2, None)],
)
def test_block_of(pieces: tuple[int, ...], offset: int, size: int, expected: tuple[int, int] | None) -> None:
    assert block_of(pieces, offset, size) == expected


shapes = st.lists(st.integers(1, 5), min_size=1, max_size=5)


@given(shapes, shapes)
def test_regroup_covers_both_shapes_with_equal_products(left: list[int], right: list[int]) -> None:
    old, new = [*left, *right], [*right, *left]
    groups = regroup(old, new)
    assert [d for group, _ in groups for d in group] == list(range(len(old)))
    assert [d for _, group in groups for d in group] == list(range(len(new)))
    for a, b in groups:
        assert a
        assert b
        assert math.prod(old[d] for d in a) == math.prod(new[d] for d in b)
