"""Which pieces every dimension of a program is made of, as plain data.

Every dimension of every value and every loop is a *node*. Nodes that must always be split alike are unified. A node of
size N is cut at divisors of N that form a chain: a cut at 64 of 768 says that the dimension is made of 12 x 64.
Reshapes and slices carry cuts from node to node until nothing changes. Where a cut does not fit (6 = 2x3 here and 3x2
there) or a node is frozen, it is refused, and the reshape in question stays in the program.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Node = int


@dataclass(frozen=True)
class Group:
    """`whole` is `parts` flattened, major to minor."""

    parts: tuple[Node, ...]
    whole: Node

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (*self.parts, self.whole)


@dataclass(frozen=True)
class Window:
    """`part` is the range of `whole` that begins at `offset`."""

    whole: Node
    part: Node
    offset: int

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.whole, self.part)


@dataclass(frozen=True)
class Share:
    """`part` is the range of `whole` that begins at `offset`, where `whole` is stored as `count` shares.

    A share holds an equal portion of each part of `whole`, one behind another: share `s` of parts `q`, `k` and `v` is
    portion `s` of `q`, then that of `k`, then that of `v`. So the range is the same one in every share.
    """

    whole: Node
    part: Node
    offset: int
    count: int

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.whole, self.part)


Edge = Group | Window | Share


class Factors:
    """Nodes, what unifies them, and the cuts of each."""

    def __init__(self) -> None:
        self._size: list[int] = []
        self._parent: list[Node] = []
        self._cuts: list[set[int]] = []
        self._frozen: list[bool] = []
        self.edges: list[Edge] = []
        self._shares: dict[Node, int] = {}

    def new(self, size: int) -> Node:
        """A node of its own."""
        self._size.append(size)
        self._parent.append(len(self._parent))
        self._cuts.append(set())
        self._frozen.append(False)
        return len(self._parent) - 1

    def find(self, node: Node) -> Node:
        """The representative of the nodes that are unified with `node`."""
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def size(self, node: Node) -> int:
        """The extent of the dimension."""
        return self._size[node]

    def unify(self, first: Node, second: Node) -> None:
        """Make two nodes of equal size one; to be called before any cut is made."""
        first, second = self.find(first), self.find(second)
        if first != second:
            self._parent[second] = first
            self._frozen[first] |= self._frozen[second]

    def freeze(self, node: Node) -> None:
        """Refuse further cuts of `node`."""
        self._frozen[self.find(node)] = True

    def is_frozen(self, node: Node) -> bool:
        """Whether `node` refuses cuts."""
        return self._frozen[self.find(node)]

    def cuts(self, node: Node) -> set[int]:
        """The cuts of `node`."""
        return self._cuts[self.find(node)]

    def cut(self, node: Node, at: int) -> bool:
        """Cut `node` into (size / at) x at; return whether that changed anything. A cut that does not fit is
        refused.
        """
        node = self.find(node)
        size, cuts = self._size[node], self._cuts[node]
        if not 1 < at < size or at in cuts or self._frozen[node] or size % at:
            return False
        if any(at % other and other % at for other in cuts):
            return False
        cuts.add(at)
        return True

    def pieces(self, node: Node) -> tuple[int, ...]:
        """The sizes of the pieces of `node`, major to minor; one piece when it is not cut."""
        size, cuts = self._size[node], self._cuts[self.find(node)]
        if not cuts:
            return (size,)
        chain = [size, *sorted(cuts, reverse=True), 1]
        return tuple(upper // lower for upper, lower in itertools.pairwise(chain))

    def store_as_shares(self, node: Node, count: int) -> None:
        """Store `node` as so many shares; its windows become `Share` edges by whoever decides this."""
        self._shares[self.find(node)] = count
        self.cut(node, self._size[node] // count)

    def shares(self, node: Node) -> int:
        """As how many shares `node` is stored; 1 when its elements are in their own order."""
        return self._shares.get(self.find(node), 1)

    def without(self, dropped: set[Edge], frozen: Iterable[Node]) -> Factors:
        """A copy that lacks some edges, with these nodes frozen besides."""
        copy = Factors()
        copy._size, copy._parent, copy._frozen = list(self._size), list(self._parent), list(self._frozen)
        copy._cuts = [set(cuts) for cuts in self._cuts]
        copy._shares = dict(self._shares)
        copy.edges = [edge for edge in self.edges if edge not in dropped]
        for node in frozen:
            copy.freeze(node)
        return copy

    def propagate(self) -> None:
        """Carry cuts along the edges until nothing changes, in time linear in the edges."""
        at_node: dict[Node, list[Edge]] = {}
        for edge in self.edges:
            for node in edge.nodes:
                at_node.setdefault(self.find(node), []).append(edge)
        todo = deque(self.edges)
        while todo:
            for changed in self._apply(todo.popleft()):
                todo.extend(at_node.get(changed, ()))

    def _apply(self, edge: Edge) -> Iterable[Node]:
        if isinstance(edge, Share):
            wanted = self._of_share(edge)
        else:
            wanted = self._of_group(edge) if isinstance(edge, Group) else self._of_window(edge)
        return [self.find(node) for node, at in wanted if self.cut(node, at)]

    def _of_group(self, edge: Group) -> list[tuple[Node, int]]:
        whole_cuts = sorted(self.cuts(edge.whole))
        wanted: list[tuple[Node, int]] = []
        stride = 1
        for part in reversed(edge.parts):
            extent = stride * self._size[part]
            wanted.append((edge.whole, stride))
            wanted += [(edge.whole, stride * at) for at in sorted(self.cuts(part))]
            wanted += [(part, at // stride) for at in whole_cuts if stride < at < extent and at % stride == 0]
            stride = extent
        return wanted

    def _of_window(self, edge: Window) -> list[tuple[Node, int]]:
        size = self._size[edge.part]
        down = [(edge.part, at) for at in sorted(self.cuts(edge.whole)) if edge.offset % at == 0 and size % at == 0]
        up = [(edge.whole, at) for at in sorted(self.cuts(edge.part)) if edge.offset % at == 0]
        return down + up

    def _of_share(self, edge: Share) -> list[tuple[Node, int]]:
        whole, part = self._size[edge.whole] // edge.count, self._size[edge.part] // edge.count
        offset = edge.offset // edge.count
        wanted = [(edge.whole, whole), (edge.part, part)]
        for at in sorted(self.cuts(edge.whole)):
            if at % whole == 0:
                wanted.append((edge.part, at // whole * part))
            elif offset % at == 0 and part % at == 0:
                wanted.append((edge.part, at))
        for at in sorted(self.cuts(edge.part)):
            if at % part == 0:
                wanted.append((edge.whole, at // part * whole))
            elif offset % at == 0:
                wanted.append((edge.whole, at))
        return wanted


def block_of(pieces: Sequence[int], offset: int, size: int) -> tuple[int, int] | None:
    """How a range of a dimension looks in its pieces: (offset, extent) along the major piece, all of the minor ones.

    None when the range is not such a block.
    """
    minor = 1
    for piece in pieces[1:]:
        minor *= piece
    if offset % minor or size % minor:
        return None
    return offset // minor, size // minor
