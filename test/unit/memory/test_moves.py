"""Moves on random tapes: what they compute again can be computed there, and takes off the bytes that they promise."""

from __future__ import annotations

from random import Random

import pytest

from jogak.memory.moves import MoveFinder
from jogak.memory.planner import FlatPlans
from jogak.memory.tape import Step, Tape, lay_out

ARGUMENTS = 4


def random_tape(draw: Random, steps: int = 60) -> Tape:
    """Every step reads a few values, near or far; nothing is written over anything."""
    made = range(ARGUMENTS, ARGUMENTS + steps)
    reads = [
        tuple({draw.choice([draw.randrange(value), max(value - draw.randint(1, 5), 0)]) for _ in range(2)})
        for value in made
    ]
    listed = [
        Step(read, (value,), seconds=draw.uniform(0.1, 2), once=draw.random() < 0.05)
        for read, value in zip(reads, made, strict=True)
    ]
    return Tape(listed, [64 * draw.randint(1, 50) for _ in range(ARGUMENTS + steps)], ARGUMENTS, (made[-1],))


@pytest.mark.parametrize("seed", range(12))
def test_a_move_takes_off_what_its_score_says(seed):
    draw = Random(seed)
    tape = random_tape(draw)
    plans, plan = FlatPlans(tape), list(range(len(tape.steps)))
    finder = MoveFinder(tape, 0)
    checked = 0
    for _ in range(8):
        view = plans.look(plan)
        position = int(view.trace.live.argmax())
        moves = finder.candidates(view.sequence, view.trace, position)
        for move in moves:
            after = plans.insert(plan, move)[0]
            live = lay_out(tape, after).live
            assert list(plans.look(after).trace.live) == list(live)
            there = {value for step in plan[: move.before] for value in tape.steps[step].writes}
            for step in move.steps:
                assert not tape.steps[step].once
                assert all(read < ARGUMENTS or read in there for read in tape.steps[step].reads)
                there.update(tape.steps[step].writes)
            assert live[position] == view.trace.live[position] - round(move.seconds / move.score)
            checked += 1
        if not moves:
            break
        finder.price = moves[0].score
        plan = plans.insert(plan, draw.choice(moves))[0]
    assert checked
