"""The order in which targets work, timed as it stands, keeps the promise that looks ahead in the program's order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

import pytest

from jogak.cost.clock import AHEAD, Work, run_clock
from jogak.runtime.program import CollectiveStep, KernelStep
from jogak.runtime.types import TensorType
from jogak.targets.distributed.schedule import overlap

TYPE = TensorType((1,), "f32")


@dataclass(frozen=True)
class Kind:
    """As much of a collective as the order asks for."""

    kind: str = "all_gather"


def collective(operands: tuple[int, ...], result: int) -> CollectiveStep:
    return CollectiveStep(cast("Any", Kind()), operands, (result,), TYPE, TYPE, "")


def kernel(operands: tuple[int, ...], result: int) -> KernelStep:
    return KernelStep(cast("Any", None), operands, (result,), "")


def layers(count: int, kernels: int) -> list[Any]:
    """Each layer gathers its weight just before its first kernel reads it; value 0 is the input."""
    steps: list[Any] = []
    last, value = 0, 1
    for _ in range(count):
        steps.append(collective((), value))
        steps.append(kernel((last, value), value + 1))
        steps += [kernel((value + number,), value + number + 1) for number in range(1, kernels)]
        last = value + kernels
        value = last + 1
    return steps


def clock(steps: Any, seconds: dict[int, float], ahead: int) -> float:
    """Seconds of steps by the seconds of what makes each value."""
    maker = {result: number for number, step in enumerate(steps) for result in step.results}
    works = [
        Work(
            seconds[step.results[0]],
            tuple(maker[each] for each in step.operands if each in maker),
            isinstance(step, CollectiveStep),
        )
        for step in steps
    ]
    return run_clock(works, ahead)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_targets_starts_gathers_as_early_as_the_clock_promises(seed: int) -> None:
    random = Random(seed)
    steps = layers(random.randint(3, 12), random.randint(2, 12))
    seconds = {step.results[0]: random.uniform(0.5, 2.0) for step in steps}
    ordered = overlap(steps, [steps[-1].results[0]])
    assert {step.results for step in ordered} == {step.results for step in steps}
    assert clock(ordered, seconds, 1) <= clock(steps, seconds, AHEAD) * 1.05
    assert clock(ordered, seconds, 1) <= clock(steps, seconds, 1)


def test_a_large_gather_starts_layers_before_it_is_read() -> None:
    steps = layers(6, 2)
    gathers = [step.results[0] for step in steps if isinstance(step, CollectiveStep)]
    seconds = {step.results[0]: 0.1 if step.results[0] in gathers else 1.0 for step in steps} | {gathers[4]: 6.0}
    written, promised = clock(steps, seconds, 1), clock(steps, seconds, AHEAD)
    ordered = clock(overlap(steps, [steps[-1].results[0]]), seconds, 1)
    assert promised == pytest.approx(ordered, rel=0.05)
    assert ordered < 0.85 * written


def test_no_step_waits_for_what_it_does_not_need() -> None:
    steps = layers(2, 2)
    alone = [replace(step) for step in steps if isinstance(step, KernelStep)]
    assert [step.results for step in overlap(alone, [alone[-1].results[0]])] == [step.results for step in alone]
