"""Which steps are needed, and after which step a value is no longer needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from jogak.runtime.program import CollectiveStep


class Unit(Protocol):
    """A step of any kind, a dataclass: values that it reads, makes, and that nothing reads after it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def operands(self) -> tuple[int, ...]: ...

    @property
    def results(self) -> tuple[int, ...]: ...

    @property
    def location(self) -> str: ...

    @property
    def frees(self) -> tuple[int, ...]: ...


AnyStep = TypeVar("AnyStep", bound=Unit)


def plan(steps: Sequence[AnyStep], results: Sequence[int]) -> tuple[AnyStep, ...]:
    """The steps that results or other devices depend on, each with the values that die with it.

    Args:
        steps: all steps in order.
        results: the values that the program returns.
    """
    live = set(results)
    kept: list[AnyStep] = []
    for step in reversed(steps):
        if not isinstance(step, CollectiveStep) and live.isdisjoint(step.results):
            continue
        touched = {*step.operands, *step.results}
        kept.append(replace(step, frees=tuple(sorted(touched - live))))
        live |= touched
    return tuple(reversed(kept))
