"""Machine code of the lower bound: sequential tree-reweighted message passing, and prices on memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jogak.search.flat import Graph, Incidence
from jogak.search.jit import INFINITY, Floats, Ints, helper, kernel
from jogak.search.memory import Memory


class Messages(NamedTuple):
    """What edges tell their variables.

    Attributes:
        at_left, to_left: `to_left[at_left[e]:at_left[e + 1]]` is the message of edge e to its left variable.
        at_right, to_right: the same for the right one.
    """

    at_left: Ints
    to_left: Floats
    at_right: Ints
    to_right: Floats


@helper(fast=True)
def _send_right(buffer: Floats, w: Floats, message: Floats) -> None:
    count = len(message)
    message[:] = INFINITY
    for s in range(len(buffer)):
        base = buffer[s]
        row = w[s * count : (s + 1) * count]
        for t in range(count):
            value = base + row[t]
            message[t] = value if value < message[t] else message[t]


@helper(fast=True)
def _send_left(buffer: Floats, w: Floats, message: Floats) -> None:
    count = len(buffer)
    for s in range(len(message)):
        row = w[s * count : (s + 1) * count]
        best = INFINITY
        for t in range(count):
            value = buffer[t] + row[t]
            best = value if value < best else best
        message[s] = best


@helper()
def _receive(
    v: int,
    forward: bool,
    graph: Graph,
    incidence: Incidence,
    messages: Messages,
    choice: Ints,
    greedy: Floats,
    total: Floats,
) -> int:
    """Fill `total` with the sum of the messages to v; returns how many neighbours are still ahead in the sweep.

    `greedy` gains the messages from those ahead, and the costs of the chosen states of the others.
    """
    first, _, left, right, table, pair = graph
    begin, edges = incidence
    at_left, to_left, at_right, to_right = messages
    total[:] = 0
    ahead = 0
    for p in range(begin[v], begin[v + 1]):
        e = edges[p]
        is_left = left[e] == v
        message = to_left[at_left[e] : at_left[e + 1]] if is_left else to_right[at_right[e] : at_right[e + 1]]
        kb = first[right[e] + 1] - first[right[e]]
        start, step = table[e] + choice[left[e]] * kb, 1
        if is_left:
            start, step = table[e] + choice[right[e]], kb
        for s in range(len(total)):
            total[s] += message[s]
            greedy[s] += message[s] if is_left == forward else pair[start + s * step]
        ahead += 1 if is_left == forward else 0
    return ahead


@kernel()
def pass_messages(
    graph: Graph,
    unary: Floats,
    incidence: Incidence,
    messages: Messages,
    forward: bool,
    marginal: Floats,
    choice: Ints,
) -> float:
    """One sweep over all variables, in their order or against it; returns the lower bound that it proves.

    The method is TRW-S (Kolmogorov, "Convergent tree-reweighted message passing for energy minimization", 2006). After
    a sweep every cost table, with what its variables gave it and its messages took, is nonnegative, so that the parts
    that the variables kept are a lower bound. `left[e] < right[e]` is required.

    Args:
        unary: the costs of states, in place of those of the graph.
        marginal: filled; how much more than the bound of the sweep before a choice with this state costs at least.
        choice: filled with a state for each variable, chosen one after another given those before it.
    """
    first, _, left, _, table, pair = graph
    begin, edges = incidence
    at_left, to_left, at_right, to_right = messages
    size = len(first) - 1
    bound = 0.0
    for step in range(size):
        v = step if forward else size - 1 - step
        lo, hi = first[v], first[v + 1]
        total, greedy = marginal[lo:hi], unary[lo:hi].copy()
        ahead = _receive(v, forward, graph, incidence, messages, choice, greedy, total)
        total += unary[lo:hi]
        behind = begin[v + 1] - begin[v] - ahead
        choice[v] = greedy.argmin()
        share = 1.0 / max(ahead, behind, 1)
        least = total.min()
        bound += (1.0 - share * ahead) * least
        for p in range(begin[v], begin[v + 1]):
            e = edges[p]
            if (left[e] == v) != forward:
                continue
            w = pair[table[e] : table[e + 1]]
            if forward:
                _send_right(
                    share * total - to_left[at_left[e] : at_left[e + 1]], w, to_right[at_right[e] : at_right[e + 1]]
                )
            else:
                _send_left(
                    share * total - to_right[at_right[e] : at_right[e + 1]], w, to_left[at_left[e] : at_left[e + 1]]
                )
        total -= least
    return bound


@kernel()
def extrapolate(messages: Floats, before: Floats, share: float) -> None:
    """Move messages by a share of how far they are from those before, which become what the messages were."""
    for i in range(len(messages)):
        now = messages[i]
        move = now - before[i]
        before[i] = now
        if np.isfinite(move):
            messages[i] = now + share * move


@kernel()
def add_prices(graph: Graph, memory: Memory, summed: Floats, unary: Floats) -> None:
    """Charge each state for the memory that it occupies; `summed[t]` is the sum of the prices of all times before t."""
    first, (row_of, lower, upper, rows, amount, _) = graph.first, memory
    for v in range(len(first) - 1):
        for q in range(row_of[v], row_of[v + 1]):
            price = summed[upper[q]] - summed[lower[q]]
            if price == 0:
                continue
            for s in range(first[v + 1] - first[v]):
                unary[first[v] + s] += price * amount[rows[q] + s]


@kernel()
def occupy(memory: Memory, choice: Ints, profile: Floats) -> None:
    """Fill `profile` with the summed usage of a choice at each time."""
    row_of, lower, upper, rows, amount, _ = memory
    profile[:] = 0
    for v in range(len(row_of) - 1):
        for q in range(row_of[v], row_of[v + 1]):
            value = amount[rows[q] + choice[v]]
            profile[lower[q]] += value
            if upper[q] < len(profile):
                profile[upper[q]] -= value
    for t in range(1, len(profile)):
        profile[t] += profile[t - 1]


@kernel()
def cost_of(graph: Graph, choice: Ints) -> float:
    """The cost of a choice, memory aside."""
    first, unary, left, right, table, pair = graph
    total = 0.0
    for v in range(len(first) - 1):
        total += unary[first[v] + choice[v]]
    for e in range(len(left)):
        total += pair[table[e] + choice[left[e]] * (first[right[e] + 1] - first[right[e]]) + choice[right[e]]]
    return total
