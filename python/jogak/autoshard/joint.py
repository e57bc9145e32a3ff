"""Sharding and rematerialization decided together, at the price that a byte has in recomputation.

The search knows memory as a limit on what ops keep alive; recomputation afterwards brings that down for time. How much
it should bring down is a share: the search is run with a part of every activation, and hands a plan over that does not
fit by itself. A smaller share gives a plan with less communication and more to recompute. Which is best cannot be seen
from the search alone, so plans are measured: partitioned, made to fit, and timed. Among them is the fastest plan
without a limit, where its arguments and single ops fit, so that to decide both together is not behind one after the
other. What a plan added for each byte that it was above the limit is the price (a Lagrange multiplier) by which the
others are judged; those that cannot win at that price, or that take more time than the best one even before anything is
recomputed, are not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jogak.autoshard.meshes import Found
from jogak.text import duration, size

SHARES = (1.0, 0.6, 0.35, 0.2, 0.1, 0.05)
"""Shares of the memory of activations that plans are searched with."""
NO_LIMIT = 0.0
"""Stands for a search without a limit: no other one counts nothing of what ops make."""


@dataclass(frozen=True)
class Measured:
    """A plan after partition and rematerialization.

    Attributes:
        step_s: seconds of a step without anything repeated, as the clock of the promise tells them.
        added_s: how much longer a step takes with what is computed again, of the lowest plan where none fits; below 0
            where its order hides more behind collectives.
        peak_bytes: bytes of a device before anything is computed again.
        fits: whether it fits the limit.
    """

    step_s: float
    added_s: float
    peak_bytes: int
    fits: bool

    @property
    def total_s(self) -> float:
        """Seconds of a step."""
        return self.step_s + self.added_s


@dataclass(frozen=True)
class Candidate:
    """What the search found for a share.

    Attributes:
        share: of what ops make.
        found: the plans of all meshes, the best one first.
        measured: what became of the best one; None where it could not win.
    """

    share: float
    found: Sequence[Found]
    measured: Measured | None = None

    def to_json(self) -> dict[str, Any]:
        """An entry of `joint` in the manifest."""
        best = self.found[0]
        entry = {"share": self.share, "mesh": str(best.mesh), "objective": best.outcome.objective}
        if self.measured is None:
            return entry | {"measured": False}
        return entry | {
            "measured": True,
            "fits": self.measured.fits,
            "step_time_s": self.measured.step_s,
            "added_time_s": self.measured.added_s,
            "peak_without_bytes": self.measured.peak_bytes,
        }

    def describe(self) -> str:
        """One line for people."""
        told = self.measured
        name = "without a limit" if self.share == NO_LIMIT else f"{self.share:.0%} of activations"
        if told is None:
            return f"{name}: {duration(self.found[0].outcome.objective)}, cannot win"
        fits = f"+ {duration(max(told.added_s, 0.0))} again" if told.fits else "does not fit"
        return f"{name}: {duration(told.step_s)} at {size(told.peak_bytes)}, {fits}"


@dataclass(frozen=True)
class Joint:
    """The outcome.

    Attributes:
        best: the candidate with the least time of those that fit; one of those that were searched where none does.
        tried: all of them.
        price: seconds that recomputation took for a byte, at least; 0 where nothing had to be recomputed.
    """

    best: Candidate
    tried: Sequence[Candidate]
    price: float = 0.0


def search_jointly(
    search: Callable[[float], Sequence[Found]],
    measure: Callable[[Found], Measured] | None,
    limit: float | None,
) -> Joint:
    """Search with several shares, and take the plan that is fastest after recomputation.

    Args:
        search: the plans of all meshes for a share, the best first; for `NO_LIMIT` those that recomputation may make
            fit, none where there are none.
        measure: what becomes of a plan; None takes the largest share for which there is one.
        limit: bytes of a device.
    """
    tried: list[Candidate] = []
    for share in SHARES:
        candidate = Candidate(share, search(share))
        tried.append(candidate)
        if any(each.outcome.interrupted for each in candidate.found):
            return Joint(_largest(tried), tried)
        feasible = candidate.found[0].plan is not None
        if feasible and (measure is None or limit is None or _is_free(candidate.found[0], limit)):
            break
    largest = _largest(tried)
    if measure is None or limit is None or (largest is tried[-1] and _is_free(largest.found[0], limit)):
        return Joint(largest, tried)
    fastest = search(NO_LIMIT)
    if fastest:
        tried.append(Candidate(NO_LIMIT, fastest))
    elif sum(candidate.found[0].plan is not None for candidate in tried) < 2:
        return Joint(largest, tried)
    return _measured(tried, measure, limit)


def _largest(tried: Sequence[Candidate]) -> Candidate:
    """The largest share for which there is a plan within the limit; the smallest share where there is none."""
    shared = [candidate for candidate in tried if candidate.share != NO_LIMIT]
    return next((candidate for candidate in shared if candidate.found[0].plan is not None), shared[-1])


def _is_free(found: Found, limit: float) -> bool:
    """Whether the limit does not bind: the plan is as good as one without it."""
    outcome = found.outcome
    return outcome.objective <= outcome.lower_bound * (1 + 1e-9) and outcome.peak_bytes <= limit


def _measured(tried: list[Candidate], measure: Callable[[Found], Measured], limit: float) -> Joint:
    """Measure the candidates that can win, from the one with the least time before recomputation."""
    price = 0.0
    best: Candidate | None = None
    known: dict[tuple[str, tuple[int, ...]], Measured] = {}
    order = sorted(range(len(tried)), key=lambda at: tried[at].found[0].outcome.objective)
    for at in order:
        found = tried[at].found[0]
        choice = found.outcome.choice
        if choice is None:
            continue
        holds = found.model.holds
        excess = max((holds.whole or holds).peak(choice)[0] - limit, 0.0)
        at_least = found.outcome.objective + price * excess
        if best is not None and best.measured is not None and at_least >= best.measured.total_s:
            continue
        key = (str(found.mesh), choice)
        if key not in known:
            known[key] = measure(found)
        told = known[key]
        tried[at] = Candidate(tried[at].share, tried[at].found, told)
        over = told.peak_bytes - limit
        if told.fits and over > 0:
            paid = max(told.added_s, 0.0) / over
            price = paid if price == 0.0 else min(price, paid)
        if told.fits and (best is None or best.measured is None or told.total_s < best.measured.total_s):
            best = tried[at]
    return Joint(_largest(tried) if best is None else best, tried, price)


def joint_lines(joint: Joint, lower_bound: float) -> Iterator[str]:
    """What is told of the pair: every share, the price, and how far it is from the bound without a limit."""
    told = joint.best.measured
    if told is None:
        return
    for candidate in joint.tried:
        if candidate.found[0].plan is not None:
            yield candidate.describe()
    gap = max(told.total_s - lower_bound, 0.0) / told.total_s
    yield (
        f"together {duration(told.total_s)}, no plan below {duration(lower_bound)} whatever its memory "
        f"(gap {gap:.1%}); a byte costs {joint.price:.2e} s"
    )
