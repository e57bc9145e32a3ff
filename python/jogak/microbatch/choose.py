"""How many micro-batches: as few as the memory asks for, or more where recomputing would take longer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from jogak.errors import JogakError

State = TypeVar("State")


@dataclass(frozen=True)
class Trial(Generic[State]):
    """A plan with some number of micro-batches.

    Attributes:
        count: how many.
        seconds: of a step, without what is recomputed.
        alone: whether it fits the memory by itself, without recomputation.
        state: what its maker needs to go on with it.
    """

    count: int
    seconds: float
    alone: bool
    state: State


@dataclass
class Tried:
    """What became of one number of micro-batches.

    Attributes:
        count: how many.
        seconds: of the plan as it was searched; None where none fits.
        finished: seconds of a step with what is recomputed; None where the plan was not followed to its end.
        refused: why there is no plan; empty where there is one.
    """

    count: int
    seconds: float | None = None
    finished: float | None = None
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """A row of the manifest's table of micro-batches."""
        return {"count": self.count, "objective": self.seconds, "step_time_s": self.finished, "fits": not self.refused}


@dataclass
class Choice(Generic[State]):
    """What was chosen.

    Attributes:
        trial: the plan.
        tried: every number that was tried, in order.
    """

    trial: Trial[State]
    tried: list[Tried] = field(default_factory=list)


def choose(
    counts: Sequence[int], plan: Callable[[int], Trial[State]], finish: Callable[[Trial[State]], float]
) -> Choice[State]:
    """The fastest plan that fits, over numbers of micro-batches.

    A step takes longer the more micro-batches it has, so the first number whose plan fits by itself ends the trials;
    against it compete those before, which fit when values are recomputed. What that costs is known only from the
    finished program, which is made for a plan as long as it can still be the fastest.

    Args:
        counts: numbers to try, ascending.
        plan: searches a plan; raises where none fits.
        finish: seconds of a step of a plan in the end; raises where it does not fit after all.

    Raises:
        JogakError: nothing fits; it is the error of the first number.
    """
    tried: list[Tried] = []
    waiting: list[Trial[State]] = []
    errors: list[JogakError] = []
    for count in counts:
        entry = Tried(count)
        tried.append(entry)
        try:
            trial = plan(count)
        except JogakError as error:
            entry.refused = error.message
            errors.append(error)
            continue
        entry.seconds = trial.seconds
        waiting.append(trial)
        if not trial.alone:
            continue
        if len(waiting) == 1:
            return Choice(trial, tried)
        best = _fastest(waiting, tried, finish, errors)
        if best is not None:
            return Choice(best, tried)
        waiting = []
    if len(waiting) == 1:
        return Choice(waiting[0], tried)
    best = _fastest(waiting, tried, finish, errors)
    if best is None:
        raise errors[0]
    return Choice(best, tried)


def _fastest(
    trials: Iterable[Trial[State]],
    tried: Sequence[Tried],
    finish: Callable[[Trial[State]], float],
    errors: list[JogakError],
) -> Trial[State] | None:
    """The plan with the shortest finished step; what cannot be shorter than the best so far is not finished."""
    best: tuple[float, Trial[State]] | None = None
    for trial in sorted(trials, key=lambda each: each.seconds):
        if best is not None and trial.seconds >= best[0]:
            break
        entry = next(each for each in tried if each.count == trial.count)
        try:
            entry.finished = finish(trial)
        except JogakError as error:
            entry.refused = error.message
            errors.append(error)
            continue
        if best is None or entry.finished < best[0]:
            best = (entry.finished, trial)
    return None if best is None else best[1]
