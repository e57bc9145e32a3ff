"""Machine code of the exact reductions: consistency, ties between variables, merging, dominance."""

from __future__ import annotations

import numpy as np

from jogak.search.jit import INFINITY, Floats, Ints, kernel


@kernel()
def _supported(row: Floats, stride: int, count: int, unary: Floats) -> bool:
    """Whether a state has a possible partner: entries of a table, one per state of the other variable."""
    t = 0
    while t < count and (row[t * stride] == INFINITY or unary[t] == INFINITY):
        t += 1
    return t < count


@kernel("i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i8[::1]")
def make_consistent(
    first: Ints, unary: Floats, left: Ints, right: Ints, table: Ints, pair: Floats, begin: Ints, edges: Ints
) -> int:
    """Make every state impossible that has no possible partner across some edge. Returns how many there were."""
    size = len(first) - 1
    queue = np.arange(size)
    queued = np.ones(size, np.bool_)
    head, waiting, removed = 0, size, 0
    while waiting > 0:
        v = queue[head]
        head = (head + 1) % size
        waiting -= 1
        queued[v] = False
        for p in range(begin[v], begin[v + 1]):
            e = edges[p]
            w = right[e] if left[e] == v else left[e]
            kr = first[right[e] + 1] - first[right[e]]
            changed = False
            for s in range(first[w], first[w + 1]):
                if unary[s] == INFINITY:
                    continue
                if left[e] == w:
                    row, stride = pair[table[e] + (s - first[w]) * kr :], 1
                else:
                    row, stride = pair[table[e] + (s - first[w]) :], kr
                if not _supported(row, stride, first[v + 1] - first[v], unary[first[v] :]):
                    unary[s] = INFINITY
                    removed += 1
                    changed = True
            if changed and not queued[w]:
                queue[(head + waiting) % size] = w
                waiting += 1
                queued[w] = True
    return removed


@kernel("i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1]")
def find_ties(first: Ints, unary: Floats, left: Ints, right: Ints, table: Ints, pair: Floats) -> Ints:
    """For each edge: 1 when the left state determines the right one, plus 2 when the right one determines the left.

    The problem must be consistent.
    """
    result = np.zeros(len(left), np.int64)
    for e in range(len(left)):
        a, b = left[e], right[e]
        ka, kb = first[a + 1] - first[a], first[b + 1] - first[b]
        columns = np.zeros(kb, np.int64)
        forward = True
        for s in range(ka):
            if unary[first[a] + s] == INFINITY:
                continue
            partners = 0
            for t in range(kb):
                if pair[table[e] + s * kb + t] < INFINITY and unary[first[b] + t] < INFINITY:
                    partners += 1
                    columns[t] += 1
            forward = forward and partners == 1
        result[e] = (1 if forward else 0) + (2 if columns.max() <= 1 else 0)
    return result


@kernel("i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1]")
def grow_trees(
    ties: Ints, left: Ints, right: Ints, begin: Ints, edges: Ints, starts: Ints, root: Ints, via: Ints, order: Ints
) -> int:
    """Span the variables with trees in which each variable is determined by its parent.

    Args:
        ties: from `find_ties`.
        starts: all variables, in the order in which they may become roots.
        root: filled with each variable's root.
        via: filled with the edge to each variable's parent, -1 for roots.
        order: filled with the variables, parents first.

    Returns:
        Number of roots.
    """
    root[:] = -1
    filled, roots, head = 0, 0, 0
    for start in starts:
        if root[start] >= 0:
            continue
        root[start], via[start], order[filled] = start, -1, start
        filled += 1
        roots += 1
        while head < filled:
            v = order[head]
            head += 1
            for p in range(begin[v], begin[v + 1]):
                e = edges[p]
                determined = (ties[e] & 1) != 0 if left[e] == v else (ties[e] & 2) != 0
                w = right[e] if left[e] == v else left[e]
                if determined and root[w] < 0:
                    root[w], via[w], order[filled] = start, e, w
                    filled += 1
    return roots


@kernel("i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1]")
def trace_states(
    first: Ints,
    unary: Floats,
    left: Ints,
    right: Ints,
    table: Ints,
    pair: Floats,
    root: Ints,
    via: Ints,
    order: Ints,
    position: Ints,
    kept: Ints,
    state: Ints,
) -> None:
    """For each variable and each kept state of its root: the state that it takes.

    Args:
        position: where the row of each variable starts in `state`.
        kept: number of possible states of each root.
        state: filled.
    """
    for v in order:
        row = position[v]
        if via[v] < 0:
            for s in range(first[v], first[v + 1]):
                if unary[s] < INFINITY:
                    state[row] = s - first[v]
                    row += 1
            continue
        e = via[v]
        kb = first[right[e] + 1] - first[right[e]]
        parent = left[e] if right[e] == v else right[e]
        for r in range(kept[root[v]]):
            s = state[position[parent] + r]
            for t in range(first[v + 1] - first[v]):
                entry = pair[table[e] + (s * kb + t if left[e] == parent else t * kb + s)]
                if entry < INFINITY and unary[first[v] + t] < INFINITY:
                    state[row + r] = t
                    break


@kernel("i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], f8[::1]")
def merge_unary(
    first: Ints, unary: Floats, root: Ints, renamed: Ints, position: Ints, state: Ints, new_first: Ints, out: Floats
) -> None:
    """Add the costs of all variables to the states of their roots."""
    for v in range(len(first) - 1):
        r = renamed[root[v]]
        for s in range(new_first[r + 1] - new_first[r]):
            out[new_first[r] + s] += unary[first[v] + state[position[v] + s]]


@kernel(
    "i8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1],"
    "i8[::1], i8[::1], f8[::1], f8[::1]"
)
def merge_pairs(
    first: Ints,
    left: Ints,
    right: Ints,
    table: Ints,
    pair: Floats,
    root: Ints,
    renamed: Ints,
    position: Ints,
    state: Ints,
    group: Ints,
    new_first: Ints,
    new_table: Ints,
    new_unary: Floats,
    new_pair: Floats,
) -> None:
    """Add each cost table to the table of its group, or to a variable when its two ends became one or one is fixed.

    The group's table has its rows for the root with the smaller new number; `group[e] < 0` means "no table".
    """
    for e in range(len(left)):
        a, b = left[e], right[e]
        ra, rb = renamed[root[a]], renamed[root[b]]
        pa, pb = position[a], position[b]
        kb = first[b + 1] - first[b]
        if ra > rb:
            ra, rb, pa, pb = rb, ra, pb, pa
        na, nb = new_first[ra + 1] - new_first[ra], new_first[rb + 1] - new_first[rb]
        swapped = renamed[root[a]] != ra
        for s in range(na):
            for t in range(nb):
                if ra == rb and s != t:
                    continue
                i, j = state[pa + s], state[pb + t]
                value = pair[table[e] + (j * kb + i if swapped else i * kb + j)]
                if group[e] >= 0:
                    new_pair[new_table[group[e]] + s * nb + t] += value
                elif na > 1 or ra == rb:
                    new_unary[new_first[ra] + s] += value
                else:
                    new_unary[new_first[rb] + t] += value


@kernel("i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1]")
def normalize(first: Ints, unary: Floats, left: Ints, right: Ints, table: Ints, pair: Floats) -> Ints:
    """Move what a cost table charges in any case to its variables. Returns 1 for each table with something left."""
    useful = np.zeros(len(left), np.int64)
    for e in range(len(left)):
        a, b = left[e], right[e]
        ka, kb = first[a + 1] - first[a], first[b + 1] - first[b]
        w = pair[table[e] : table[e + 1]]
        for s in range(ka):
            low = w[s * kb : (s + 1) * kb].min()
            unary[first[a] + s] += low
            for t in range(kb):
                if low < INFINITY:
                    w[s * kb + t] -= low
        for t in range(kb):
            low = w[t]
            for s in range(1, ka):
                low = min(low, w[s * kb + t])
            unary[first[b] + t] += low
            for s in range(ka):
                if low < INFINITY:
                    w[s * kb + t] -= low
        useful[e] = 1 if w.max() > 0 else 0
    return useful


@kernel()
def _worst_change(
    e: int, v: int, s: int, r: int, first: Ints, left: Ints, right: Ints, table: Ints, pair: Floats
) -> float:
    """The most that edge e can cost more when v changes from state s to state r."""
    kb = first[right[e] + 1] - first[right[e]]
    if left[e] == v:
        count, stride, old, new = kb, 1, table[e] + s * kb, table[e] + r * kb
    else:
        count, stride, old, new = first[left[e] + 1] - first[left[e]], kb, table[e] + s, table[e] + r
    worst = -INFINITY
    for t in range(count):
        before, after = pair[old + t * stride], pair[new + t * stride]
        if before == INFINITY:
            continue
        worst = max(worst, after - before)
        if worst == INFINITY:
            break
    return worst


@kernel("i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], i8[::1], f8[::1]")
def remove_dominated(
    first: Ints,
    unary: Floats,
    left: Ints,
    right: Ints,
    table: Ints,
    pair: Floats,
    begin: Ints,
    edges: Ints,
    row_of: Ints,
    rows: Ints,
    amount: Floats,
) -> int:
    """Make a state impossible when another is never worse: not in cost for any neighbours, nor in memory at any time.

    The tables must be normalized: every row and column then holds a 0, so no edge alone can make a change cheaper.

    Args:
        row_of: where the memory segments of each variable start in `rows`.
        rows: where the usages of each segment start in `amount`, one per state.

    Returns:
        Number of states removed.
    """
    removed = 0
    for v in range(len(first) - 1):
        states = first[v + 1] - first[v]
        for s in range(states):
            if unary[first[v] + s] == INFINITY:
                continue
            for r in range(states):
                change = unary[first[v] + r] - unary[first[v] + s]
                if r == s or change > 0:
                    continue
                fits = True
                for q in range(row_of[v], row_of[v + 1]):
                    if amount[rows[q] + r] > amount[rows[q] + s]:
                        fits = False
                        break
                if not fits:
                    continue
                for p in range(begin[v], begin[v + 1]):
                    change += _worst_change(edges[p], v, s, r, first, left, right, table, pair)
                    if change > 0:
                        break
                if change <= 0:
                    unary[first[v] + s] = INFINITY
                    removed += 1
                    break
    return removed
