"""Orders: proven for a few steps, and never higher than what they start from."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from jogak.memory.exact_order import exact_order
from jogak.memory.order import list_order, low_order
from jogak.memory.shifts import shift
from jogak.memory.tape import Step, Tape, lay_out


def random_tape(seed: int, steps: int) -> Tape:
    """Steps that read up to three values of anything before, some written over an operand, arguments too."""
    draw = Random(seed)
    sizes, made = [64, 128], []
    for _ in range(steps):
        reads = tuple(sorted(draw.sample(range(len(sizes)), min(len(sizes), draw.randint(1, 3)))))
        writes = tuple(range(len(sizes), len(sizes) + draw.choice((1, 1, 1, 2))))
        sizes += [64 * draw.randint(1, 3) for _ in writes]
        made.append(
            Step(reads, writes, tuple(tuple(v for v in reads if v >= 2 or draw.random() < 0.5) for _ in writes))
        )
    read = {value for step in made for value in step.reads}
    left = [value for value in range(2, len(sizes)) if value not in read]
    return Tape(made, sizes, 2, frozenset(value for value in left if draw.random() < 0.7))


def orders(tape: Tape) -> Iterator[list[int]]:
    """Every order of the steps."""
    makers = {value: number for number, step in enumerate(tape.steps) for value in step.writes}
    needs = [{makers[v] for v in step.reads if v in makers} for step in tape.steps]

    def extend(begun: list[int]) -> Iterator[list[int]]:
        if len(begun) == len(needs):
            yield begun
        for number, needed in enumerate(needs):
            if number not in begun and needed <= set(begun):
                yield from extend([*begun, number])

    return extend([])


@pytest.mark.parametrize("seed", [*range(40), 272])
def test_small_tapes_get_the_lowest_of_all_orders(seed):
    tape = random_tape(seed, 7)
    order, proven = exact_order(tape)
    assert proven
    assert (
        lay_out(tape, order).peak
        == lay_out(tape, low_order(tape)).peak
        == min(lay_out(tape, order).peak for order in orders(tape))
    )


@pytest.mark.parametrize("seed", range(4))
def test_twenty_five_steps_are_proven(seed):
    tape = random_tape(seed, 25)
    assert exact_order(tape)[1]
    assert lay_out(tape, low_order(tape)).peak <= lay_out(tape).peak


def test_an_order_that_is_not_proven_is_no_higher_than_local_search(monkeypatch):
    monkeypatch.setattr("jogak.memory.exact_order._WIDTH", 1)
    unproven = 0
    for seed in range(12):
        tape = random_tape(seed, 20)
        unproven += not exact_order(tape)[1]
        assert lay_out(tape, low_order(tape)).peak <= lay_out(tape, shift(tape, list_order(tape))).peak
    assert unproven >= 3


def test_local_search_lowers_what_list_scheduling_leaves():
    better = 0
    for seed in range(12):
        tape = random_tape(seed, 80)
        start = list_order(tape)
        after = shift(tape, start)
        assert sorted(after) == list(range(80))
        before, now = lay_out(tape, start).peak, lay_out(tape, after).peak
        assert now <= before
        better += now < before
    assert better >= 3


def test_the_order_of_the_last_round_counts():
    better = 0
    for seed in range(12):
        tape = random_tape(seed, 80)
        start = list_order(tape)
        better += lay_out(tape, shift(tape, start, 1)).peak < lay_out(tape, start).peak
    assert better >= 1
