"""The memory model, on plain data: what a step reads, makes and may overwrite, and how long every buffer lives.

A program of one device is a `Tape`: steps in order, which read and make values. A value is what takes memory: views
(reshapes, contiguous slices) are names for bytes of the value they are taken from and appear nowhere in a tape.
`lay_out` says for any order of steps, with repeats, which buffer every value lies in, from when to when, and how many
bytes are alive at each step. Schedules, rematerialization, offsets and promises all come from it; the simulator
measures the same bytes without it.

The rules:

1. An argument is alive throughout. The update of an argument is written over it where its old value dies there
   (donation), and takes a buffer of its own where it does not.
2. A value is alive from the step that makes it to its last reader; a result of the program to the end.
3. A step writes over an operand that dies in it where the op allows that (destination-passing style): then two values
   share one buffer, one after the other.
4. All operands and results of a step are alive at once; a collective's, too.
5. Every buffer is rounded up to `ALIGNMENT` bytes, so that offsets can be aligned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

ALIGNMENT = 64
"""Bytes: vector loads and stores of every target are aligned with it."""


def padded(bytes_: int) -> int:
    """Bytes of a buffer that holds so many."""
    return -(-bytes_ // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Step:
    """One op that does something at run time.

    Attributes:
        reads: values that it reads, each once.
        writes: values that it makes.
        reuse: for each of them the values that it may be written over, best first, if they die here.
        seconds: how long it takes.
        once: whether it must not run twice.
    """

    reads: tuple[int, ...]
    writes: tuple[int, ...]
    reuse: tuple[tuple[int, ...], ...] = ()
    seconds: float = 0.0
    once: bool = False


@dataclass(frozen=True)
class Tape:
    """The program of one device.

    Attributes:
        steps: in the program's order.
        sizes: bytes of each value, rounded up; 0 for numbers that live in registers.
        arguments: how many values are arguments: the first ones.
        results: values that are alive at the end.
    """

    steps: Sequence[Step]
    sizes: Sequence[int]
    arguments: int
    results: frozenset[int]

    @cached_property
    def resident(self) -> int:
        """Bytes of the arguments."""
        return sum(self.sizes[: self.arguments])

    @cached_property
    def makers(self) -> Mapping[int, int]:
        """The step that makes each value that is no argument."""
        return {value: number for number, step in enumerate(self.steps) for value in step.writes}

    @cached_property
    def seconds(self) -> float:
        """How long all steps take, once each."""
        return sum(step.seconds for step in self.steps)


@dataclass
class Lifetime:
    """A buffer: who lies in it, from the first position of a sequence to the last, both included.

    Attributes:
        size: bytes.
        first: the position where it begins; 0 for an argument.
        last: the position where it ends.
        values: (position, value) of everything written into it, in order; position -1 for an argument.
    """

    size: int
    first: int
    last: int
    values: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """A sequence of steps with its buffers.

    Attributes:
        buffers: those of the arguments first.
        live: bytes alive at each position, arguments included.
        arguments: how many buffers are arguments'.
    """

    buffers: Sequence[Lifetime]
    live: Sequence[int]
    arguments: int

    @property
    def peak(self) -> int:
        """The most bytes that are alive at once: no arena for this sequence is smaller."""
        return max(self.live, default=sum(buffer.size for buffer in self.buffers[: self.arguments]))


@dataclass
class _Instance:
    """One computation of a value."""

    value: int
    first: int
    last: int
    buffer: int = -1


def lay_out(tape: Tape, sequence: Sequence[int] | None = None) -> Layout:
    """The buffers of a sequence of steps; of the program's own order by default.

    Args:
        sequence: numbers of steps; a step may come again. A reader takes the newest computation of a value.

    Raises:
        AssertionError: a step reads what was not made yet.
    """
    order = list(range(len(tape.steps))) if sequence is None else list(sequence)
    end = len(order) - 1
    instances = [_Instance(value, 0, end, value) for value in range(tape.arguments)]
    uses, makes = _resolve(tape, order, instances)
    buffers = [Lifetime(tape.sizes[value], 0, max(end, 0), [(-1, value)]) for value in range(tape.arguments)]
    for position in range(len(order)):
        _place(tape, tape.steps[order[position]], position, uses[position], makes[position], instances, buffers)
    return Layout(buffers, _live(buffers, len(order)), tape.arguments)


def _resolve(
    tape: Tape, order: Sequence[int], instances: list[_Instance]
) -> tuple[list[dict[int, int]], list[tuple[int, ...]]]:
    """For each position the instance behind each value that it reads, and the instances that it makes.

    An argument's last use is that of its old value, for donation; its buffer lives to the end all the same.
    """
    current = dict(enumerate(range(tape.arguments)))
    for instance in instances:
        instance.last = -1
    uses: list[dict[int, int]] = []
    makes: list[tuple[int, ...]] = []
    for position, chosen in enumerate(order):
        step = tape.steps[chosen]
        unknown = [value for value in step.reads if value not in current]
        assert not unknown, f"value {unknown[0]} is read before it is made"
        found = {value: current[value] for value in step.reads}
        for number in found.values():
            instances[number].last = position
        first = len(instances)
        instances.extend(_Instance(value, position, position) for value in step.writes)
        current.update((value, first + k) for k, value in enumerate(step.writes))
        uses.append(found)
        makes.append(tuple(range(first, len(instances))))
    for returned in tape.results:
        instances[current[returned]].last = len(order)
    return uses, makes


def _place(
    tape: Tape,
    step: Step,
    position: int,
    uses: dict[int, int],
    makes: tuple[int, ...],
    instances: list[_Instance],
    buffers: list[Lifetime],
) -> None:
    """Give each value that a step makes a buffer: that of an operand that dies here, or a new one."""
    taken: set[int] = set()
    for k, number in enumerate(makes):
        made = instances[number]
        size = tape.sizes[made.value]
        for candidate in step.reuse[k] if step.reuse else ():
            old = instances[uses[candidate]]
            fits = old.last == position and tape.sizes[candidate] == size > 0
            if fits and old.buffer not in taken:
                made.buffer = old.buffer
                taken.add(old.buffer)
                break
        else:
            made.buffer = len(buffers)
            buffers.append(Lifetime(size, position, position))
        buffer = buffers[made.buffer]
        buffer.last = max(buffer.last, made.last)
        buffer.values.append((position, made.value))


def _live(buffers: Sequence[Lifetime], positions: int) -> list[int]:
    change = [0] * (positions + 2)
    for buffer in buffers:
        change[buffer.first] += buffer.size
        change[min(buffer.last, positions) + 1] -= buffer.size
    live: list[int] = []
    total = 0
    for position in range(positions):
        total += change[position]
        live.append(total)
    return live
