"""The program as plain data: values, nodes and how they share factors. All that decides about sharding works on this.

It is built once from the module (`jogak.sharding.reading`) and holds no MLIR object, so that propagation, search and
cost code can be tested on hand-made graphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from jogak.cost.element import element_size
from jogak.cost.kernel import PLAIN, Arithmetic
from jogak.sharding.rule import Dims, OpShardingRule


@dataclass(frozen=True)
class Value:
    """A tensor of the program.

    Attributes:
        id: its number in `Graph.values`.
        shape: global shape.
        element: element type as MLIR writes it (`f32`).
        name: `jogak.name` of an argument, otherwise the module path of the op that makes it.
        producer: number of the node that makes it; None for an argument.
    """

    id: int
    shape: tuple[int, ...]
    element: str
    name: str = ""
    producer: int | None = None

    @cached_property
    def bytes(self) -> int:
        """Size of the whole value in bytes."""
        return prod(self.shape) * element_size(self.element)


@dataclass(frozen=True)
class Node:
    """One op.

    Attributes:
        index: its number in `Graph.nodes`, in program order.
        op: op name (`linalg.generic`).
        rule: how its tensors share factors.
        operands: value numbers, in the order of `rule.operands`; None for an operand that every device makes for
            itself at no cost (an empty tensor, a constant fill).
        results: value numbers, in the order of `rule.results`.
        location: the user's source line and module path.
        flops: arithmetic operations of the whole op.
        arithmetic: what one iteration does.
        through: operands that may all be partial sums together; the result is then one, too.
        sums: groups of operands of which the op uses nothing but the sum.
        part: of an op of a micro-batch the number of the micro-batch, and one that its counterparts in others have.
        view: whether the result is bytes of the first operand, so that there is nothing to compute.
    """

    index: int
    op: str
    rule: OpShardingRule
    operands: tuple[int | None, ...]
    results: tuple[int, ...]
    location: str = ""
    flops: float = 0.0
    through: tuple[int, ...] = ()
    sums: tuple[tuple[int, ...], ...] = ()
    arithmetic: Arithmetic = PLAIN
    part: tuple[int, int] | None = None
    view: bool = False

    def tensors(self) -> Iterator[tuple[int, Dims]]:
        """Every value of the node with its dimensions in factors: operands, then results."""
        for value, dims in zip(self.operands, self.rule.operands, strict=True):
            if value is not None:
                yield value, dims
        yield from zip(self.results, self.rule.results, strict=True)


class Rows:
    """Rows of numbers of different lengths, in one array.

    Attributes:
        flat: the rows, one behind the other.
        starts: where each row begins, and where the last one ends.
    """

    def __init__(self, rows: Sequence[Sequence[int | None]]) -> None:
        """None becomes -1."""
        self.flat = np.array([-1 if entry is None else entry for row in rows for entry in row], dtype=np.int64)
        self.starts = np.cumsum([0, *map(len, rows)])

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Some rows, which must be equally long, as a matrix."""
        width = self.starts[numbers[0] + 1] - self.starts[numbers[0]]
        found: NDArray[np.int64] = self.flat[self.starts[numbers][:, None] + np.arange(width)]
        return found


@dataclass(frozen=True)
class Uses:
    """Every operand of every node that is a value, in program order: three columns of equal length.

    Attributes:
        node: number of the node.
        position: which of its operands.
        value: number of the value.
    """

    node: NDArray[np.int64]
    position: NDArray[np.int64]
    value: NDArray[np.int64]

    def where(self, mask: NDArray[np.bool_]) -> Uses:
        """Some of them."""
        return Uses(self.node[mask], self.position[mask], self.value[mask])


@dataclass
class Graph:
    """A whole program.

    Attributes:
        values: all values.
        nodes: all nodes in program order.
        arguments: value numbers of `@main`'s arguments.
        results: value numbers that `@main` returns; None for a value that every device makes for itself.
        updates: result position to the argument position that it replaces.
    """

    values: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    arguments: tuple[int, ...] = ()
    results: tuple[int | None, ...] = ()
    updates: dict[int, int] = field(default_factory=dict)

    def add_value(self, shape: Sequence[int], element: str, name: str = "", producer: int | None = None) -> int:
        self.values.append(Value(len(self.values), tuple(shape), element, name, producer))
        return len(self.values) - 1

    @cached_property
    def neighbours(self) -> list[list[int]]:
        """For each value the nodes that make or use it."""
        found: list[list[int]] = [[] for _ in self.values]
        for node in self.nodes:
            for value in {value for value, _ in node.tensors()}:
                found[value].append(node.index)
        return found

    @cached_property
    def operands(self) -> Rows:
        """For each node its operands; -1 for one that every device makes for itself."""
        return Rows([node.operands for node in self.nodes])

    @cached_property
    def made(self) -> Rows:
        """For each node its results."""
        return Rows([node.results for node in self.nodes])

    @cached_property
    def uses(self) -> Uses:
        """Operands as columns, for what looks at all of them at once."""
        value, starts = self.operands.flat, self.operands.starts
        node = np.repeat(np.arange(len(self.nodes)), np.diff(starts))
        return Uses(node, np.arange(len(value)) - starts[node], value).where(value >= 0)

    @cached_property
    def argument_uses(self) -> Uses:
        """Those of arguments."""
        argument = np.zeros(len(self.values), np.bool_)
        argument[list(self.arguments)] = True
        return self.uses.where(argument[self.uses.value])

    @cached_property
    def ties(self) -> list[tuple[int, int]]:
        """Pairs (argument value, result value) that must have one sharding."""
        pairs = []
        for position, argument in self.updates.items():
            result = self.results[position]
            if result is not None:
                pairs.append((self.arguments[argument], result))
        return pairs
