"""What the user asks for: requests on values by pattern, from the command line, a TOML file, Python or the IR."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jogak.errors import JogakError, nearest
from jogak.sharding.graph import Graph
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.request import Barrier, Request
from jogak.sharding.selection import Argument, select
from jogak.sharding.sharding import DimSpec


@dataclass(frozen=True)
class Constraint:
    """One request.

    Attributes:
        pattern: which values (see `jogak.sharding.selection.select`).
        spec: what is asked of them.
        source: where it was written, for messages (`--shard`, `plan.toml:3`, `train.py:12`).
    """

    pattern: str
    spec: Request
    source: str = "--shard"

    @staticmethod
    def parse(text: str, source: str = "--shard") -> Constraint:
        """Read `PATTERN=SPEC`."""
        pattern, equals, spec = text.partition("=")
        if not equals or not pattern.strip():
            raise JogakError(
                f"cannot read {text!r} as a constraint",
                where=source,
                hint="write PATTERN=SPEC, for example 'blocks.*.mlp.up.weight=[model, _]'",
            )
        try:
            return Constraint(pattern.strip(), Request.parse(spec), source)
        except JogakError as error:
            raise JogakError(error.message, where=f"{source} {text!r}", hint=error.hint) from None

    @property
    def where(self) -> str:
        """For messages: where it was written, and what."""
        return f"{self.source} '{self.pattern}={self.spec}'"


def axes_of(constraints: Iterable[Constraint]) -> list[str]:
    """Every axis and sub-axis that constraints name."""
    return [axis for constraint in constraints for axis in constraint.spec.axes()]


def read_constraints(path: Path) -> list[Constraint]:
    """Read a TOML file of strategies.

    Every table `[[strategy]]` holds `pattern = "spec"` pairs under `shard` (or a list of specs); the strategies are
    applied in the order of the file, each to a fixed point before the next. A plain `[shard]` table is one strategy.

    Raises:
        JogakError: the file is missing, is not TOML, or has an unknown key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except FileNotFoundError:
        raise JogakError("there is no such constraints file", where=str(path), hint="check the path") from None
    except OSError as error:
        hint = "give a file that can be read"
        raise JogakError(f"cannot read the constraints file: {error.strerror}", where=str(path), hint=hint) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "write [shard] and under it lines such as 'blocks.*.up.weight' = '[model, _]'"
        raise JogakError(f"not valid TOML: {error}", where=str(path), hint=hint) from None
    lines = _Lines(path, text)
    return strategies(_tables(data, path), lines.next)


def _tables(data: Mapping[str, object], path: Path) -> list[Mapping[str, object]]:
    """The `shard` tables of a file, in order."""
    _check_keys(data, ("shard", "strategy"), path)
    given = data.get("strategy", [])
    if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
        raise JogakError("'strategy' is not an array of tables", where=str(path), hint="write [[strategy]]")
    for table in given:
        _check_keys(table, ("shard",), path)
    tables = [table["shard"] for table in (data, *given) if "shard" in table]
    if not all(isinstance(table, dict) for table in tables):
        raise JogakError("'shard' is not a table", where=str(path), hint="write [shard] above the pairs")
    return tables


def strategies(tables: Sequence[Mapping[str, object]], source: Callable[[str], str]) -> list[Constraint]:
    """Requests by pattern, those of each table to be applied after those of the tables before it.

    Args:
        tables: for each strategy its patterns with a request, or a list of requests.
        source: where a pattern is written; asked once for each, in order.

    Raises:
        JogakError: a request cannot be read.
    """
    found = []
    for level, table in enumerate(tables):
        for pattern, specs in table.items():
            where = source(pattern)
            for spec in specs if isinstance(specs, (list, tuple)) else [specs]:
                made = Constraint.parse(f"{pattern}={spec}", where)
                found.append(replace(made, spec=replace(made.spec, priority=made.spec.priority + level)))
    return found


class _Lines:
    """Where in a file each key stands; keys are asked for in order."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()
        self._used: set[tuple[int, str]] = set()

    def next(self, key: str) -> str:
        pattern = re.compile(rf"""(?:^|[{{,.\s])(["']?){re.escape(key)}\1\s*=""")
        for number, line in enumerate(self._lines, 1):
            if (number, key) not in self._used and pattern.search(line.split("#")[0] if '"' not in line else line):
                self._used.add((number, key))
                return f"{self._path}:{number}"
        return str(self._path)  # written with escapes


def _check_keys(data: Mapping[str, object], known: Sequence[str], path: Path) -> None:
    unknown = sorted(set(data) - set(known))
    if unknown:
        close = nearest(unknown[0], known)
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(known)}"
        raise JogakError(f"unknown key {unknown[0]!r}", where=str(path), hint=hint)


@dataclass(frozen=True)
class Seed:
    """A constraint that landed on a value.

    Attributes:
        value: number of the value in the graph.
        dims: one entry for each dimension of the value as the program has it.
        priority: 0 goes first.
        source: where it was written.
        somewhere: axes that split some dimension, whichever it is.
        replicated: axes that split no dimension.
        group: name of a group, all values of which lie alike; empty for none.
        barrier: what passes through the value in propagation.
        placed: whether it says how the value lies; otherwise all `dims` are open.
    """

    value: int
    dims: tuple[DimSpec, ...]
    priority: int
    source: str
    somewhere: tuple[str, ...] = ()
    replicated: tuple[str, ...] = ()
    group: str = ""
    barrier: Barrier | None = None
    placed: bool = True

    @property
    def request(self) -> Request:
        """What is asked, as it can be written in the IR."""
        dims = self.dims if self.placed and not self.somewhere else None
        return Request(dims, False, self.somewhere, self.replicated, self.group, self.barrier, self.priority)


def settle(seeds: Iterable[Seed]) -> list[Seed]:
    """What holds: of several that place one value at one priority the last, and everything else that is asked."""
    given = list(seeds)
    last = {(seed.value, seed.priority): number for number, seed in enumerate(given) if seed.placed}
    kept = []
    for number, seed in enumerate(given):
        if not seed.placed or last[seed.value, seed.priority] == number:
            kept.append(seed)
        elif seed.replicated or seed.group or seed.barrier:
            kept.append(replace(seed, dims=_open(len(seed.dims)), somewhere=(), placed=False))
    return kept


def _open(rank: int) -> tuple[DimSpec, ...]:
    return (DimSpec(open=True),) * rank


def resolve(
    constraints: Iterable[Constraint], arguments: Sequence[Argument], mesh: Mesh, graph: Graph | None = None
) -> list[Seed]:
    """Find the values that each constraint names and check that it fits them.

    Args:
        arguments: those of `@main`, whose positions are their value numbers.
        graph: the program, for patterns of inner values; without it they match nothing.

    Raises:
        JogakError: a pattern matches nothing, a rank differs, an axis is unknown or used twice, a size does not divide.
    """
    return settle(seed for constraint in constraints for seed in _seeds(constraint, arguments, mesh, graph))


def _seeds(constraint: Constraint, arguments: Sequence[Argument], mesh: Mesh, graph: Graph | None) -> Iterator[Seed]:
    spec, where = constraint.spec.on(mesh), constraint.where
    spec.check(mesh, where)
    try:
        matched = select(constraint.pattern, arguments, graph)
    except JogakError as error:
        raise JogakError(error.message, where=where, hint=error.hint) from None
    inner = {number: each for number, each in matched.items() if each.role == "value"}
    if inner and not any(spec.fits(len(each.shape)) for each in inner.values()):
        raise _no_rank(spec, list(inner.values()), where)
    if spec.somewhere:
        matched = _large_enough(matched, spec, mesh, where)
    for number, each in matched.items():
        if number not in inner or spec.fits(len(each.shape)):
            dims = _spread(spec, each, mesh, where)
            _check_sizes(dims, each, mesh, where)
            yield Seed(
                number, dims, spec.priority, where, spec.somewhere, spec.replicated, spec.group, spec.barrier,
                spec.places,
            )  # fmt: skip


def _large_enough(matched: Mapping[int, Argument], spec: Request, mesh: Mesh, where: str) -> dict[int, Argument]:
    """Those that axes can split somewhere; `any(...)` on many values passes over the small ones."""
    axes = spec.somewhere
    kept = {number: each for number, each in matched.items() if any(splits(size, axes, mesh) for size in each.shape)}
    if not kept:
        raise JogakError(
            f"no dimension of any value that the pattern names can be split {mesh.size(axes)} ways",
            where=where,
            hint="name larger values, or a smaller axis",
        )
    return kept


def _no_rank(spec: Request, found: Sequence[Argument], where: str) -> JogakError:
    shapes = ", ".join(dict.fromkeys(str(list(each.shape)) for each in found))
    return JogakError(
        f"the sharding has {len(spec.dims or ())} dimensions, and no value that the pattern names has so many",
        where=where,
        hint=f"their shapes are {shapes}",
    )


def logical_groups(shape: Sequence[int], logical: Sequence[int]) -> list[list[int]]:
    """For each dimension that the user knows, the dimensions of the program that it became, major to minor."""
    groups: list[list[int]] = []
    position = 0
    for size in logical:
        group: list[int] = []
        covered = 1
        while position < len(shape) and (covered < size or not group):
            covered *= shape[position]
            group.append(position)
            position += 1
        groups.append(group)
    return groups


def _spread(spec: Request, argument: Argument, mesh: Mesh, where: str) -> tuple[DimSpec, ...]:
    """The constraint on the dimensions that the program has: axes of an exposed dimension go to its innermost part,
    those of one that is stored as shares to the shares, if there are enough of them.
    """
    if spec.dims is None:
        return _open(len(argument.shape))
    if not spec.fits(len(argument.logical)):
        raise JogakError(
            f"the sharding has {len(spec.dims)} dimensions but {argument.name!r} has {len(argument.logical)}",
            where=where,
            hint=f"its shape is {list(argument.logical)}; write one entry a dimension, or '...' for the rest",
        )
    dims = spec.spread(len(argument.logical))
    spread = [DimSpec()] * len(argument.shape)
    shares = argument.shares or ((),) * len(argument.logical)
    for dim, group, parts in zip(dims, logical_groups(argument.shape, argument.logical), shares, strict=True):
        for member in group:
            spread[member] = DimSpec((), dim.open)
        first = parts and splits(argument.shape[group[0]], dim.axes, mesh)
        spread[group[0] if first else group[-1]] = dim
    return tuple(spread)


def _check_sizes(dims: Iterable[DimSpec], argument: Argument, mesh: Mesh, where: str) -> None:
    for number, (dim, size) in enumerate(zip(dims, argument.shape, strict=True)):
        parts = mesh.size(dim.axes)
        if not splits(size, dim.axes, mesh):
            axes = "×".join(mesh.told(dim.axes))
            raise JogakError(
                f"dimension {number} of {argument.name!r} of size {size} cannot be split {parts} ways by {axes}",
                where=where,
                hint=f"leave it whole ('_'), or use axes of up to {size} devices",
            )
