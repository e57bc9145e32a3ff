"""Machine code of the primal side: local descent under the memory limit, and complete enumeration of small problems."""

from __future__ import annotations

import numpy as np

from jogak.search.jit import INFINITY, Floats, Ints, kernel


@kernel(fast=True)
def _least_room(lower: int, upper: int, profile: Floats, capacity: Floats) -> float:
    room = INFINITY
    for t in range(lower, upper):
        left = capacity[t] - profile[t]
        room = left if left < room else room
    return room


@kernel(fast=True)
def _added_overflow(lower: int, upper: int, extra: float, profile: Floats, capacity: Floats) -> float:
    """How much the overflow, summed over a range of times, grows with this extra usage."""
    change = 0.0
    for t in range(lower, upper):
        now = profile[t] - capacity[t]
        change += max(now + extra, 0.0) - max(now, 0.0)
    return change


@kernel(
    "i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1],"
    "f8[::1], f8[::1], i8[::1], f8[::1], i8[::1], f8"
)
def descend(
    first: Ints,
    unary: Floats,
    left: Ints,
    right: Ints,
    table: Ints,
    pair: Floats,
    begin: Ints,
    edges: Ints,
    row_of: Ints,
    lower: Ints,
    upper: Ints,
    rows: Ints,
    amount: Floats,
    capacity: Floats,
    choice: Ints,
    profile: Floats,
    order: Ints,
    price: float,
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
        k = first[v + 1] - first[v]
        if k == 1:
            continue
        costs = unary[first[v] : first[v + 1]].copy()
        for p in range(begin[v], begin[v + 1]):
            e = edges[p]
            kb = first[right[e] + 1] - first[right[e]]
            if left[e] == v:
                for s in range(k):
                    costs[s] += pair[table[e] + s * kb + choice[right[e]]]
            else:
                row = table[e] + choice[left[e]] * kb
                for s in range(k):
                    costs[s] += pair[row + s]
        old = choice[v]
        if price == INFINITY and costs.min() >= costs[old]:
            continue
        room = np.empty(row_of[v + 1] - row_of[v])
        for q in range(row_of[v], row_of[v + 1]):
            room[q - row_of[v]] = _least_room(lower[q], upper[q], profile, capacity)
        if price < INFINITY and (len(room) == 0 or room.min() >= 0):
            continue
        best, best_change = old, 0.0
        for s in range(k):
            if s == old or costs[s] == INFINITY:
                continue
            change = costs[s] - costs[old]
            if price == INFINITY and change >= best_change:
                continue
            for q in range(row_of[v], row_of[v + 1]):
                extra = amount[rows[q] + s] - amount[rows[q] + old]
                if extra <= room[q - row_of[v]] and (extra >= 0 or room[q - row_of[v]] >= 0):
                    continue
                if extra > 0:
                    change = INFINITY
                elif price < INFINITY:
                    change += price * _added_overflow(lower[q], upper[q], extra, profile, capacity)
            if change < best_change - 1e-9 * abs(costs[s]):
                best, best_change = s, change
        if best == old:
            continue
        for q in range(row_of[v], row_of[v + 1]):
            extra = amount[rows[q] + best] - amount[rows[q] + old]
            profile[lower[q] : upper[q]] += extra
        choice[v] = best
        changed += 1
    return changed


@kernel(
    "i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1],"
    "f8[::1], f8[::1], f8, i8, i8[::1]"
)
def enumerate_choices(
    first: Ints,
    unary: Floats,
    left: Ints,
    right: Ints,
    table: Ints,
    pair: Floats,
    begin: Ints,
    edges: Ints,
    row_of: Ints,
    lower: Ints,
    upper: Ints,
    rows: Ints,
    amount: Floats,
    capacity: Floats,
    ceiling: float,
    budget: int,
    best: Ints,
) -> float:
    """Depth-first branch and bound over all choices; for problems of few variables.

    The bound of a partial choice is its own cost plus, for each open variable, its cheapest state given the choices
    so far; cost tables must be nonnegative for that.

    Args:
        ceiling: only choices that cost less are of interest.
        budget: number of partial choices to look at before giving up.
        best: filled with the best choice.

    Returns:
        The least cost, `ceiling` when no choice costs less, not-a-number when the budget ran out.
    """
    size = len(first) - 1
    open_costs = np.empty((size + 1, len(unary)))
    open_costs[0] = unary
    profile = np.zeros(len(capacity))
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
            for q in range(row_of[v], row_of[v + 1]):
                profile[lower[q] : upper[q]] -= amount[rows[q] + current[v]]
        current[v] += 1
        s = current[v]
        if s == first[v + 1] - first[v]:
            current[v] = -1
            depth -= 1
            continue
        looked += 1
        if looked > budget:
            return np.nan
        fits = True
        for q in range(row_of[v], row_of[v + 1]):
            profile[lower[q] : upper[q]] += amount[rows[q] + s]
            for t in range(lower[q], upper[q]):
                fits = fits and profile[t] <= capacity[t]
        if not fits:
            continue
        costs, following = open_costs[depth], open_costs[depth + 1]
        following[:] = costs
        for p in range(begin[v], begin[v + 1]):
            e = edges[p]
            if left[e] != v:
                continue
            w = right[e]
            kb = first[w + 1] - first[w]
            for t in range(kb):
                following[first[w] + t] += pair[table[e] + s * kb + t]
        paid[depth + 1] = paid[depth] + costs[first[v] + s]
        bound = paid[depth + 1]
        for w in range(depth + 1, size):
            bound += following[first[w] : first[w + 1]].min()
        if bound < ceiling:
            depth += 1
    return ceiling
