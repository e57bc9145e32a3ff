"""A cost model for fuzzing: every price is drawn at random, so that every possible choice is made some time."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from jogak.cost.kernel import PLAIN, Arithmetic
from jogak.cost.machine import Machine
from jogak.sharding.mesh import Mesh
from jogak.testing.ring import RingCost


@dataclass(frozen=True)
class WhimCost:
    """Prices that depend on nothing but the question and a seed."""

    mesh: Mesh
    seed: int

    @property
    def machine(self) -> Machine:
        return RingCost(self.mesh).machine

    def collective(self, kind: str, axes: tuple[str, ...], bytes_: float) -> float:
        return self._price(kind, axes, bytes_)

    def kernel(self, element: str, flops: float, bytes_: float, arithmetic: Arithmetic = PLAIN) -> float:
        return self._price(element, flops, bytes_)

    def copy(self, bytes_: float) -> float:
        return self._price("copy", bytes_)

    def _price(self, *question: object) -> float:
        return Random(f"{self.seed} {question}").random()
