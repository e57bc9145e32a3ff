"""Repeated parts of a sequence of ops."""

from __future__ import annotations

from jogak.autoshard.folding import find_runs


def test_layers_between_other_ops_are_one_run():
    layer = [1, 2, 1, 3, 4]
    sequence = [9, 8, *layer * 6, 7, 5]
    assert find_runs(sequence) == [(2, 5, 6)]


def test_forward_and_backward_are_two_runs():
    sequence = [*[1, 2, 3] * 5, 9, *[4, 5, 6, 7] * 5]
    assert sorted(find_runs(sequence)) == [(0, 3, 5), (16, 4, 5)]


def test_two_repeats_are_no_run():
    assert find_runs([1, 2, 3, 1, 2, 3]) == []


def test_nothing_repeats():
    assert find_runs(list(range(50))) == []
