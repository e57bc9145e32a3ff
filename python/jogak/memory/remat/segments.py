"""Plans that keep only what crosses a few cuts of the forward part, and compute each segment again when it is needed.

The classic scheme of Chen et al. ("Training Deep Nets with Sublinear Memory Cost", 2016) for any graph with an order:
the forward part is what comes before the moment of highest memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jogak.memory.remat.graph import RematGraph
from jogak.memory.remat.sequence import Simulation, comes_before, simulate_sequence, without_waste


def cheapest_segments(graph: RematGraph, order: Sequence[int], budget: int) -> list[int]:
    """Of all segment plans, the cheapest that fits; the one with the lowest peak when none does."""
    base = simulate_sequence(graph, order)

    def rank(sequence: list[int]) -> tuple[int, float]:
        found = simulate_sequence(graph, sequence)
        return max(found.peak, budget), found.cost

    plans = (plan for plan in _plans(graph, order, base) if comes_before(graph, plan))
    return min([list(order), *plans], key=rank)


def _plans(graph: RematGraph, order: Sequence[int], base: Simulation) -> Iterator[list[int]]:
    middle = base.live.index(base.peak) + 1
    crossing = _crossing(graph, order, middle)
    segments = 2
    while segments < middle:
        yield _plan(graph, order, _cuts(crossing, segments), middle)
        segments = segments + max(1, segments // 4)


def _crossing(graph: RematGraph, order: Sequence[int], middle: int) -> list[int]:
    """Bytes that forward nodes before each forward step leave for forward nodes at or after it."""
    place = {node: step for step, node in enumerate(order)}
    change = [0] * (middle + 2)
    for step in range(middle):
        for value in graph.outputs[order[step]]:
            later = [place[reader] for reader in graph.readers[value] if place[reader] < middle]
            if later:
                change[step + 1] += graph.bytes[value]
                change[max(later) + 1] -= graph.bytes[value]
    total, crossing = 0, []
    for step in range(middle):
        total += change[step]
        crossing.append(total)
    return crossing


def _cuts(crossing: Sequence[int], segments: int) -> list[int]:
    """One cut near each of the evenly spread places, where the fewest bytes cross."""
    middle = len(crossing)
    cuts: list[int] = []
    for index in range(1, segments):
        centre, reach = index * middle // segments, middle // (2 * segments)
        window = range(max(centre - reach, 1), min(centre + reach + 1, middle))
        cuts.append(min(window, key=lambda step: (crossing[step], abs(step - centre)), default=centre))
    return sorted(set(cuts))


def _plan(graph: RematGraph, order: Sequence[int], cuts: Sequence[int], middle: int) -> list[int]:
    """The order, with each segment computed again before the first later node that reads one of its own values."""
    place = {node: step for step, node in enumerate(order)}
    segment = {node: sum(cut <= step for cut in cuts) for node, step in place.items() if step < middle}
    kept = {
        node
        for node, own in segment.items()
        if node in graph.single or any(segment.get(succ, own) != own for succ in graph.succs[node])
    }
    sequence = list(order[:middle])
    again: set[int] = {len(cuts)}  # the last segment is still at hand
    for node in order[middle:]:
        for pred in graph.preds[node]:
            if pred in kept or segment.get(pred, len(cuts)) in again:
                continue
            again.add(segment[pred])
            sequence += [other for other in order[:middle] if segment[other] == segment[pred] and other not in kept]
        sequence.append(node)
    return without_waste(graph, sequence)
