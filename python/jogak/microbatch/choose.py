"""How many micro-batches: as few as the memory asks for, or more where recomputing would take longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        seconds: of the plan as it was searched; None where there is none.
        finished: seconds of a step with what is recomputed; None where the plan was not followed to its end.
        refused: why there is no plan; None where there is one, or where none can be faster than one with fewer.
    """

    count: int
    seconds: float | None = None
    finished: float | None = None
    refused: JogakError | None = None

    def to_json(self) -> dict[str, Any]:
        """A row of the manifest's table of micro-batches."""
        return {
            "count": self.count,
            "objective": self.seconds,
            "step_time_s": self.finished,
            "fits": self.refused is None,
            "refused": None if self.refused is None else self.refused.message,
        }


@dataclass
class Choice(Generic[State]):
    """What was chosen.

    Attributes:
        trial: the plan.
        tried: every number that was tried, in order.
    """

    trial: Trial[State]
    tried: list[Tried] = field(default_factory=list)


class NothingFits(Exception):
    """No number has a plan.

    Attributes:
        tried: every number, with the reason.
    """

    def __init__(self, tried: Sequence[Tried]) -> None:
        super().__init__()
        self.tried = tried


def choose(
    counts: Sequence[int],
    plan: Callable[[int, float | None], Trial[State] | None],
    finish: Callable[[Trial[State]], float],
    memory: type[JogakError] = JogakError,
) -> Choice[State]:
    """The fastest plan that fits, over numbers of micro-batches.

    A step takes longer the more micro-batches it has. So the first number whose plan fits by itself ends the trials,
    and so does one that cannot be faster than a plan with fewer that recomputes. What recomputation costs is
    known only from the finished program, which is made of every plan that can still be the fastest.

    Args:
        counts: numbers to try, ascending.
        plan: searches a plan, which has to take less than some seconds; None where none can; raises where none fits.
        finish: seconds of a step of a plan in the end; raises where it does not fit after all.
        memory: what is raised where more micro-batches may help; other errors of the first number are final.

    Raises:
        NothingFits: none has a plan.
    """
    tried: list[Tried] = []
    best: tuple[float, Trial[State]] | None = None
    untried = True
    for count in counts:
        entry = Tried(count)
        tried.append(entry)
        try:
            trial = plan(count, None if best is None else best[0])
            if trial is None:
                break
            entry.seconds = trial.seconds
            if (count == counts[-1] and best is None) or (trial.alone and untried):
                return Choice(trial, tried)  # its caller finishes it
            if best is not None and trial.seconds >= best[0]:
                break
            untried = False
            entry.finished = finish(trial)
        except JogakError as error:
            if count == counts[0] and not isinstance(error, memory):
                raise
            entry.refused = error
            continue
        if best is None or entry.finished < best[0]:
            best = (entry.finished, trial)
        if trial.alone:
            break
    if best is None:
        raise NothingFits(tried)
    return Choice(best[1], tried)
