"""Sharding rules as text."""

from __future__ import annotations

import pytest

from jogak.errors import JogakError
from jogak.sharding.rule import FactorKind
from jogak.sharding.rules.einsum import einsum_rule
from jogak.sharding.sharding import Combiner


def test_matmul():
    rule = einsum_rule("ij, jk -> ik", [(2, 4), (4, 8)], [(2, 8)], where="my.matmul")
    assert rule.operands == (((0,), (1,)), ((1,), (2,)))
    assert rule.results == (((0,), (2,)),)
    assert [factor.kind for factor in rule.factors] == ["parallel", "reduction", "parallel"]
    assert str(rule.result_placement(0, {1: ("model",)})) == "[_, _] partial(model: sum)"


def test_whole_dimensions_and_size_one():
    rule = einsum_rule("i_k -> ik", [(4, 3, 1)], [(4, 1)], where="my.op")
    assert rule.operands == (((0,), (1,), ()),)
    assert rule.factors[1].kind is FactorKind.BLOCKED


def test_a_diagonal_stays_whole():
    rule = einsum_rule("ii -> i", [(4, 4)], [(4,)], where="my.diagonal")
    assert rule.factors[0].kind is FactorKind.BLOCKED


def test_a_result_without_a_letter_is_summed_over_it():
    rule = einsum_rule("ij -> ij, i", [(2, 4)], [(2, 4), (2,)], where="my.op")
    assert rule.factors[1].combiners == (None, Combiner.ADD)
    assert not rule.result_placement(0, {1: ("model",)}).is_partial
    assert rule.result_placement(1, {1: ("model",)}).is_partial


def test_a_letter_that_only_results_have_is_parallel():
    rule = einsum_rule("i -> ij, i", [(2,)], [(2, 4), (2,)], where="my.op")
    assert rule.factors[1].kind is FactorKind.PARALLEL


@pytest.mark.parametrize("text", ["ij", "ij -> i, j", "i, j -> i", "ijk -> i", "ij -> ijk"])
def test_a_rule_that_does_not_fit(text):
    with pytest.raises(JogakError, match="does not fit the op") as caught:
        einsum_rule(text, [(2, 4)], [(2,)], where="my.op")
    assert "2 -> 1" in str(caught.value.hint)


def test_sizes_that_disagree():
    with pytest.raises(JogakError, match="'i' has sizes 2 and 4"):
        einsum_rule("i, i -> i", [(2,), (4,)], [(2,)], where="my.op")
