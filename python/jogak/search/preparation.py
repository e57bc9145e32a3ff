"""All exact reductions together: merging and dominance, then elimination, in turns, and the way back through them."""

from __future__ import annotations

from dataclasses import dataclass

from jogak.search.elimination import Elimination, eliminate
from jogak.search.flat import Graph, Usage
from jogak.search.jit import Ints
from jogak.search.reductions import Reduced, reduce

_LAYERS = 6
# Another turn for fewer eliminated variables than this share costs more time than it saves.
_FEW = 0.01


@dataclass(frozen=True)
class Prepared:
    """A problem after all reductions.

    Attributes:
        reduced: the last layer; its nodes are the variables that the eliminations before it left.
        usage: the memory of those nodes.
        layers: the layers before it, each reduced and then eliminated.
    """

    reduced: Reduced
    usage: Usage
    layers: tuple[tuple[Reduced, Elimination], ...]

    def lift(self, choice: Ints) -> Ints:
        """The strategy of each node of the problem, from that of each node of the last layer."""
        for reduced, elimination in reversed(self.layers):
            choice = reduced.expand(elimination.decode(choice))
        return choice

    def expand(self, states: Ints) -> Ints:
        """The strategy of each node of the problem, from the state of each variable of the last layer."""
        return self.lift(self.reduced.expand(states))

    def collapse(self, choice: Ints) -> Ints:
        """The state of each variable of the last layer; -1 where the reductions removed it."""
        for reduced, elimination in self.layers:
            choice = reduced.collapse(choice)[elimination.kept]
        return self.reduced.collapse(choice)


def prepare(graph: Graph, usage: Usage) -> Prepared:
    """Reduce and eliminate in turns until little changes."""
    layers: list[tuple[Reduced, Elimination]] = []
    while True:
        reduced = reduce(graph, usage)
        if not reduced.possible or len(layers) == _LAYERS:
            break
        elimination = eliminate(reduced)
        if len(elimination.steps) <= _FEW * reduced.graph.size:
            break
        layers.append((reduced, elimination))
        graph, usage = elimination.graph, elimination.usage(reduced.memory)
    return Prepared(reduced, usage, tuple(layers))
