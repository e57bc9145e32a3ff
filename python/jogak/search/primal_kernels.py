"""Machine code of the primal side: local descent under the memory limit, and complete enumeration of small problems."""

from __future__ import annotations

import numpy as np

from jogak.search.flat import Graph, Incidence, costs_beside, other_end
from jogak.search.jit import INFINITY, Floats, Ints, helper, kernel
from jogak.search.memory import Memory


@helper(fast=True)
def _least_room(lower: int, upper: int, profile: Floats, capacity: Floats) -> float:
    room = INFINITY
    for t in range(lower, upper):
        left = capacity[t] - profile[t]
        room = left if left < room else room
    return room


@helper()
def _rooms(v: int, memory: Memory, profile: Floats) -> Floats:
    """For each memory segment of v, the least memory that is left while it lasts."""
    row_of, lower, upper, _, _, capacity = memory
    room = np.empty(row_of[v + 1] - row_of[v])
    for p in range(len(room)):
        q = row_of[v] + p
        room[p] = _least_room(lower[q], upper[q], profile, capacity)
    return room


@helper(fast=True)
def _added_overflow(lower: int, upper: int, extra: float, profile: Floats, capacity: Floats) -> float:
    """How much the overflow, summed over a range of times, grows with this extra usage."""
    change = 0.0
    for t in range(lower, upper):
        now = profile[t] - capacity[t]
        change += max(now + extra, 0.0) - max(now, 0.0)
    return change


@helper()
def _costs_of_states(v: int, graph: Graph, incidence: Incidence, choice: Ints) -> Floats:
    """What each state of v costs while its neighbours keep their states."""
    costs = graph.unary[graph.first[v] : graph.first[v + 1]].copy()
    for p in range(incidence.begin[v], incidence.begin[v + 1]):
        e = incidence.edges[p]
        start, step = costs_beside(graph, e, v, choice[other_end(graph, e, v)])
        for s in range(len(costs)):
            costs[s] += graph.pair[start + s * step]
    return costs


@helper()
def _charge(v: int, old: int, new: int, price: float, room: Floats, memory: Memory, profile: Floats) -> float:
    """The price of a change of state: infinite when it adds to an overflow, negative when it takes from one."""
    row_of, lower, upper, rows, amount, capacity = memory
    charge = 0.0
    for q in range(row_of[v], row_of[v + 1]):
        extra = amount[rows[q] + new] - amount[rows[q] + old]
        left = room[q - row_of[v]]
        if extra <= left and (extra >= 0 or left >= 0):
            continue
        if extra > 0:
            return INFINITY
        if price < INFINITY:
            charge += price * _added_overflow(lower[q], upper[q], extra, profile, capacity)
    return charge


@helper()
def _open_costs(v: int, s: int, graph: Graph, incidence: Incidence, costs: Floats) -> float:
    """Add what state s of v costs the states of the variables after it; returns the least that those cost."""
    first = graph.first
    for p in range(incidence.begin[v], incidence.begin[v + 1]):
        e = incidence.edges[p]
        if graph.left[e] != v:
            continue
        w = graph.right[e]
        start, step = costs_beside(graph, e, w, s)
        for t in range(first[w + 1] - first[w]):
            costs[first[w] + t] += graph.pair[start + t * step]
    least = 0.0
    for w in range(v + 1, len(first) - 1):
        least += costs[first[w] : first[w + 1]].min()
    return least


@helper()
def _place(v: int, s: int, sign: int, memory: Memory, profile: Floats) -> bool:
    """Add (sign 1) or take away (-1) the usage of a state; returns whether memory suffices where it changed."""
    row_of, lower, upper, rows, amount, capacity = memory
    fits = True
    for q in range(row_of[v], row_of[v + 1]):
        for t in range(lower[q], upper[q]):
            profile[t] += sign * amount[rows[q] + s]
            fits = fits and profile[t] <= capacity[t]
    return fits


@kernel()
def descend(
    graph: Graph, incidence: Incidence, memory: Memory, choice: Ints, profile: Floats, order: Ints, price: float
) -> int:
    """One sweep of best single changes; returns how many states changed.

    No change is made that adds to an overflow. With an infinite price a change must lower the cost. With a finite one
    it must lower cost plus `price` times the overflow summed over all times, and only variables in memory at an
    overflow are visited.

    Args:
        choice: a state for each variable, changed in place.
        profile: its summed usage at each time, kept up to date.
        order: the variables, in the order in which they are visited.
    """
    changed = 0
    for v in order:
        k = graph.first[v + 1] - graph.first[v]
        if k == 1:
            continue
        costs = _costs_of_states(v, graph, incidence, choice)
        old = choice[v]
        if price == INFINITY and costs.min() >= costs[old]:
            continue
        room = _rooms(v, memory, profile)
        if price < INFINITY and (len(room) == 0 or room.min() >= 0):
            continue
        best, best_change = old, 0.0
        for s in range(k):
            if s == old or costs[s] == INFINITY:
                continue
            change = costs[s] - costs[old]
            if price == INFINITY and change >= best_change:
                continue
            change += _charge(v, old, s, price, room, memory, profile)
            if change < best_change - 1e-9 * abs(costs[s]):
                best, best_change = s, change
        if best == old:
            continue
        _place(v, old, -1, memory, profile)
        _place(v, best, 1, memory, profile)
        choice[v] = best
        changed += 1
    return changed


@kernel()
def enumerate_choices(
    graph: Graph, incidence: Incidence, memory: Memory, ceiling: float, budget: int, best: Ints
) -> float:
    """Depth-first branch and bound over all choices; for problems of few variables.

    A partial choice is bounded by its own cost plus the cheapest state of each open variable given the choices so far;
    cost tables must be nonnegative for that. `best` is filled with the best choice that costs less than `ceiling`;
    `budget` limits the number of partial choices.

    Returns:
        The least cost, `ceiling` when no choice costs less, not-a-number when the budget ran out.
    """
    first = graph.first
    size = len(first) - 1
    open_costs = np.empty((size + 1, len(graph.unary)))
    open_costs[0] = graph.unary
    profile = np.zeros(len(memory.capacity))
    current = np.full(size, -1, np.int64)
    paid = np.zeros(size + 1)
    depth, looked = 0, 0
    while depth >= 0:
        if depth == size:
            if paid[depth] < ceiling:
                ceiling = paid[depth]
                best[:] = current
            depth -= 1
            continue
        v = depth
        if current[v] >= 0:
            _place(v, current[v], -1, memory, profile)
        current[v] += 1
        s = current[v]
        if s == first[v + 1] - first[v]:
            current[v] = -1
            depth -= 1
            continue
        looked += 1
        if looked > budget:
            return np.nan
        if not _place(v, s, 1, memory, profile):
            continue
        costs, following = open_costs[v], open_costs[v + 1]
        following[:] = costs
        paid[v + 1] = paid[v] + costs[first[v] + s]
        least = _open_costs(v, s, graph, incidence, following)
        if paid[v + 1] + least < ceiling:
            depth += 1
    return ceiling
