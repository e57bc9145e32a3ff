"""Simulated annealing on the sequence itself, priced by its true peak.

Three kinds of change: drop a value over a moment of high memory and compute it again just before its next reader,
together with those of its inputs that would have to be kept instead; take a repeat back; move a computation to another
slot. Memory over the budget costs a price per byte, which rises while the sequence does not fit and falls while it
does (strategic oscillation), so that the search stays at the edge of the budget.
"""

from __future__ import annotations

import numpy as np

from jogak.memory.remat.timeline import (
    EMPTY,
    PINNED,
    Timeline,
    earlier,
    insert,
    last_use,
    next_use,
    peak_slot,
    remove,
)
from jogak.search.jit import Floats, Ints, helper

_CHAIN = 24  # most computations that one change adds
_PERIOD = 500  # changes between two looks at the price


@helper()
def anneal(
    line: Timeline,
    budget: int,
    first: int,
    last: int,
    changes: int,
    heat: float,
    cold: float,
    price: Floats,
    best: Ints,
) -> float:
    """Try the changes first..last of an annealing with `changes` changes, in place.

    Args:
        line: a valid timeline.
        budget: bytes that it may use.
        first, last, changes: which part of the annealing this is; also the seed of the random numbers.
        heat, cold: first and last temperature, in shares of the cost of one run.
        price: [1] cost, in shares of one run, of exceeding the budget by all of it; carried from part to part.
        best: [slots] receives the slots of the cheapest sequence of this part that fits.

    Returns:
        The cost of that sequence, or infinity when none fitted.
    """
    np.random.seed(first + changes)
    log = np.zeros((_CHAIN + 2, 3), dtype=np.int64)
    total = max(line.cost.sum(), 1e-300)
    cost = total_cost(line)
    lowest, fitting = np.inf, 0
    for change in range(first, last):
        over = excess(line, budget)
        if change % _PERIOD == 0 and change > first:
            price[0] = _new_price(price[0], fitting)
            fitting = 0
        if over == 0.0:
            fitting += 1
            if cost < lowest * (1 - 1e-12):
                lowest = cost
                best[:] = line.slots
        temperature = heat * (cold / heat) ** (change / changes)
        steps = _propose(line, budget, log)
        new_cost = cost + _cost_of(line, log, steps)
        rise = (new_cost - cost) / total + price[0] * (excess(line, budget) - over)
        if steps > 0 and (rise <= 0 or np.random.random() < np.exp(-rise / temperature)):
            cost = new_cost
        else:
            _undo(line, log, steps)
    return lowest


@helper()
def excess(line: Timeline, budget: int) -> float:
    """The bytes over the budget, in shares of it."""
    return float(max(0.0, (line.live[1] - budget) / max(budget, 1)))


@helper()
def total_cost(line: Timeline) -> float:
    """The cost of every occurrence."""
    return float((line.cost * line.times).sum())


@helper()
def _new_price(price: float, fitting: int) -> float:
    if fitting == 0:
        return min(price * 1.3, 1e3)
    if fitting == _PERIOD:
        return max(price / 1.3, 1e-4)
    return price


@helper()
def _cost_of(line: Timeline, log: Ints, steps: int) -> float:
    cost = 0.0
    for step in range(steps):
        cost += log[step, 0] * line.cost[log[step, 1]]
    return cost


@helper()
def _undo(line: Timeline, log: Ints, steps: int) -> None:
    for step in range(steps - 1, -1, -1):
        node, slot = log[step, 1], log[step, 2]
        if log[step, 0] > 0:
            remove(line, node, earlier(line, node, slot))
        else:
            insert(line, node, slot)


@helper()
def _do_insert(line: Timeline, node: int, slot: int, log: Ints, steps: int) -> int:
    insert(line, node, slot)
    log[steps, 0], log[steps, 1], log[steps, 2] = 1, node, slot
    return steps + 1


@helper()
def _do_remove(line: Timeline, node: int, index: int, log: Ints, steps: int) -> int:
    log[steps, 0], log[steps, 1], log[steps, 2] = -1, node, line.at[node, index]
    remove(line, node, index)
    return steps + 1


@helper()
def _propose(line: Timeline, budget: int, log: Ints) -> int:
    """Apply one random change; returns how many entries of the log describe it.

    Over the budget most changes drop a value from the peak. Under it, they take a repeat back, which may need another
    one elsewhere.
    """
    draw, over = np.random.random(), line.live[1] > budget
    drop = draw < 0.6 if over else 0.4 <= draw < 0.55
    back = 0.6 <= draw < 0.8 if over else draw < 0.4
    steps = 0
    if back:
        steps = _take_back(line, log)
        drop = steps > 0 and not over and line.live[1] > budget
    if drop:
        return _evict(line, peak_slot(line), log, steps)
    return steps if back else _shift(line, log)


@helper()
def _evict(line: Timeline, moment: int, log: Ints, steps: int) -> int:
    """Drop a value that only waits over the moment; compute it again before its next reader."""
    value = _waiting(line, moment)
    if value < 0:
        return steps
    node = line.maker[value]
    slot = free_slot_before(line, node, next_use(line, value, moment), moment)
    if slot < 0:
        return steps
    done, limit, depth = steps, steps + _CHAIN, np.random.random()
    steps = _do_insert(line, node, slot, log, steps)
    while done < steps < limit:
        node, slot = log[done, 1], log[done, 2]
        for position in range(line.read_start[node], line.read_start[node + 1]):
            read = line.reads[position]
            if steps < limit and np.random.random() < depth and stretched(line, read, slot, moment):
                place = free_slot_before(line, line.maker[read], slot, moment)
                if place >= 0:
                    steps = _do_insert(line, line.maker[read], place, log, steps)
        done += 1
    return steps


@helper()
def stretched(line: Timeline, value: int, slot: int, moment: int) -> bool:
    """Whether the value lives over the moment for no reader before `slot`."""
    node = line.maker[value]
    source = earlier(line, node, slot) - 1
    if source < 0 or line.at[node, source] >= moment:
        return False
    return last_use(line, value, line.at[node, source], slot - 1) < moment


@helper()
def _waiting(line: Timeline, moment: int) -> int:
    """A random value that lives over the moment without being read or made there; -1 if there is none."""
    values = line.size.size
    start = np.random.randint(values)
    found, tries, best = -1, 1 + np.random.randint(3), -1.0
    for offset in range(values):
        value = (start + offset) % values
        if not waits(line, value, moment):
            continue
        score = np.random.random() * line.size[value] / (line.cost[line.maker[value]] + 1e-9)
        if score > best:
            found, best = value, score
        tries -= 1
        if tries == 0:
            break
    return found


@helper()
def waits(line: Timeline, value: int, moment: int) -> bool:
    """Whether the value lives over the moment, is not read or made there, and may be computed again."""
    node = line.maker[value]
    if line.size[value] == 0 or line.once[node] or line.times[node] == line.at.shape[1]:
        return False
    source = earlier(line, node, moment) - 1
    if source < 0 or line.end[value, source] <= moment:
        return False
    running = line.slots[moment]
    if running == node:
        return False
    if running != EMPTY:
        for position in range(line.read_start[running], line.read_start[running + 1]):
            if line.reads[position] == value:
                return False
    return True


@helper()
def free_slot_before(line: Timeline, node: int, slot: int, after: int) -> int:
    """An empty slot in (after, slot) for the node, as late as possible; -1 if there is none."""
    if slot >= line.slots.size or line.once[node] or line.times[node] == line.at.shape[1]:
        return -1
    until = min(slot, _closing(line, node))
    if line.stage.size > 0:
        place = stage_slot(line.stage[slot], node)
        return place if after < place < until and line.slots[place] == EMPTY else -1
    place = until - 1
    while place > after and line.slots[place] != EMPTY:
        place -= 1
    return place if place > after else -1


@helper()
def _closing(line: Timeline, node: int) -> int:
    """The slot before which all computations of the node come."""
    found = line.slots.size
    for position in range(line.last_start[node], line.last_start[node + 1]):
        last = line.lasts[position]
        if line.times[last] > 0:
            found = min(found, line.at[last, 0])
    return found


@helper()
def stage_slot(stage: int, node: int) -> int:
    """The slot of a node in a stage: stage t has a slot for each of the nodes 0..t."""
    return stage * (stage + 1) // 2 + node


@helper()
def _take_back(line: Timeline, log: Ints) -> int:
    repeated = line.repeated[line.repeated.size - 1]
    if repeated == 0:
        return 0
    node = line.repeated[np.random.randint(repeated)]
    index = np.random.randint(line.times[node])
    if index == 0 and (line.stage.size > 0 or line.at[node, 1] > first_reader(line, node)):
        return 0
    return _do_remove(line, node, index, log, 0)


@helper()
def first_reader(line: Timeline, node: int) -> int:
    """The first slot in which somebody reads a value of the node."""
    found = line.slots.size
    for output in range(line.out_start[node], line.out_start[node + 1]):
        found = min(found, next_use(line, line.outs[output], -1))
    return found


@helper()
def _shift(line: Timeline, log: Ints) -> int:
    """Move one occurrence to another slot between its neighbours in time."""
    repeated = line.repeated[line.repeated.size - 1]
    if line.stage.size > 0 and repeated == 0:
        return 0
    if line.stage.size > 0:
        node = line.repeated[np.random.randint(repeated)]
        index = 1 + np.random.randint(line.times[node] - 1)
        slot = _near_stage(line, node, line.stage[line.at[node, index]])
    else:
        node = np.random.randint(line.times.size)
        index = np.random.randint(line.times[node])
        slot = -1 if line.once[node] == PINNED else _slot_between(line, node, index)
    if slot < 0 or line.slots[slot] != EMPTY:
        return 0
    steps = _do_remove(line, node, index, log, 0)
    return _do_insert(line, node, slot, log, steps)


@helper()
def _slot_between(line: Timeline, node: int, index: int) -> int:
    """A random slot in which the occurrence may stand, half of the time one close to where it stands."""
    low, high = line.origin[0], min(line.slots.size, _closing(line, node)) - 1
    if index > 0:
        low = line.at[node, index - 1] + 1
    else:
        low = max(low, _opening(line, node))
        high = min(high, first_reader(line, node) - 1)
    if index + 1 < line.times[node]:
        high = min(high, line.at[node, index + 1] - 1)
    if np.random.random() < 0.5:
        here, reach = line.at[node, index], line.slots.size // line.times.size * 4
        low, high = max(low, here - reach), min(high, here + reach)
    return int(low + np.random.randint(high - low + 1))


@helper()
def _opening(line: Timeline, node: int) -> int:
    """The first slot in which the node can be computed for the first time."""
    found = 0
    for position in range(line.read_start[node], line.read_start[node + 1]):
        found = max(found, line.at[line.maker[line.reads[position]], 0] + 1)
    for position in range(line.first_start[node], line.first_start[node + 1]):
        first = line.firsts[position]
        found = max(found, line.at[first, line.times[first] - 1] + 1)
    return found


@helper()
def _near_stage(line: Timeline, node: int, stage: int) -> int:
    """The node's slot in a stage up to 8 away; -1 if there is no such stage, or the node must not repeat there."""
    stage += np.random.randint(-8, 9)
    if not node < stage < line.times.size:
        return -1
    slot = stage_slot(stage, node)
    return slot if slot < _closing(line, node) else -1
