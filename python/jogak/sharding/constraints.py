"""What the user asks for: shardings of values by name pattern, from the command line, a TOML file, Python or the IR."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from jogak.errors import JogakError, nearest
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.sharding import DimSpec, SpecPattern


@dataclass(frozen=True)
class Constraint:
    """One request.

    Attributes:
        pattern: glob over argument names (`layers.*.mlp.up.weight`), or `role:parameter` for all arguments of a role.
        spec: the sharding that matching values get.
        source: where it was written, for messages (`--shard`, `plan.toml`).
    """

    pattern: str
    spec: SpecPattern
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
            return Constraint(pattern.strip(), SpecPattern.parse(spec).check_constraint(), source)
        except JogakError as error:
            raise JogakError(error.message, where=f"{source} {text!r}", hint=error.hint) from None


def read_constraints(path: Path) -> list[Constraint]:
    """Read a TOML file of strategies.

    Every table `[[strategy]]` holds `pattern = "spec"` pairs under `shard`; the strategies are applied in the order of
    the file, each to a fixed point before the next. A plain `[shard]` table is one strategy.

    Raises:
        JogakError: the file is missing, is not TOML, or has an unknown key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JogakError("there is no such constraints file", where=str(path), hint="check the path") from None
    except OSError as error:
        hint = "give a file that can be read"
        raise JogakError(f"cannot read the constraints file: {error.strerror}", where=str(path), hint=hint) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "write [shard] and under it lines such as 'blocks.*.up.weight' = '[model, _]'"
        raise JogakError(f"not valid TOML: {error}", where=str(path), hint=hint) from None
    _check_keys(data, ("shard", "strategy"), path)
    strategies = data.get("strategy", [])
    if not isinstance(strategies, list) or not all(isinstance(table, dict) for table in strategies):
        raise JogakError("'strategy' is not an array of tables", where=str(path), hint="write [[strategy]]")
    for table in strategies:
        _check_keys(table, ("shard",), path)
    tables = [table["shard"] for table in (data, *strategies) if "shard" in table]
    if not all(isinstance(table, dict) for table in tables):
        raise JogakError("'shard' is not a table", where=str(path), hint="write [shard] above the pairs")
    return [
        _prioritized(Constraint.parse(f"{pattern}={spec}", str(path)), level)
        for level, table in enumerate(tables)
        for pattern, spec in table.items()
    ]


def _check_keys(table: Mapping[str, object], known: Sequence[str], path: Path) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        close = nearest(unknown[0], known)
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(known)}"
        raise JogakError(f"unknown key {unknown[0]!r}", where=str(path), hint=hint)


def _prioritized(constraint: Constraint, level: int) -> Constraint:
    spec = constraint.spec
    return Constraint(
        constraint.pattern, SpecPattern(spec.dims, spec.partial, spec.priority + level), constraint.source
    )


@dataclass(frozen=True)
class Seed:
    """A constraint that landed on a value.

    Attributes:
        value: number of the value in the graph.
        dims: one entry for each dimension of the value as the program has it.
        priority: 0 goes first.
        source: where it was written.
    """

    value: int
    dims: tuple[DimSpec, ...]
    priority: int
    source: str


@dataclass(frozen=True)
class Argument:
    """What a constraint can match.

    Attributes:
        name: fully qualified parameter name or input name.
        role: `parameter`, `buffer`, `optimizer_state`, `input` or `seed`.
        shape: shape in the program.
        logical: shape in the user's model, which differs where a fused projection was exposed.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    logical: tuple[int, ...]


def resolve(constraints: Sequence[Constraint], arguments: Sequence[Argument], mesh: Mesh) -> dict[int, Seed]:
    """Find the arguments that each constraint names and check that it fits them; a later one replaces an earlier one.

    Returns:
        argument position to what it was given.

    Raises:
        JogakError: a pattern matches nothing, a rank differs, an axis is unknown or used twice, a size does not divide.
    """
    seeds: dict[int, Seed] = {}
    for constraint in constraints:
        where = f"{constraint.source} '{constraint.pattern}={constraint.spec}'"
        constraint.spec.check(mesh, where)
        matched = [number for number, argument in enumerate(arguments) if _matches(constraint.pattern, argument)]
        if not matched:
            close = nearest(constraint.pattern.replace("*", ""), [argument.name for argument in arguments])
            inputs = ", ".join(argument.name for argument in arguments if argument.role == "input")
            hint = (
                f"the nearest name is {close!r}" if close else f"inputs: {inputs}; parameters have their PyTorch names"
            )
            raise JogakError("the pattern matches no argument", where=where, hint=hint)
        for number in matched:
            dims = _spread(constraint.spec.dims, arguments[number], where)
            _check_sizes(dims, arguments[number], mesh, where)
            seeds[number] = Seed(number, dims, constraint.spec.priority, where)
    return seeds


def _matches(pattern: str, argument: Argument) -> bool:
    if pattern.startswith("role:"):
        return argument.role == pattern.removeprefix("role:")
    return fnmatchcase(argument.name, pattern)


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


def _spread(dims: tuple[DimSpec, ...], argument: Argument, where: str) -> tuple[DimSpec, ...]:
    """The constraint on the dimensions that the program has: axes of an exposed dimension go to its innermost part."""
    if len(dims) != len(argument.logical):
        raise JogakError(
            f"the sharding has {len(dims)} dimensions but {argument.name!r} has {len(argument.logical)}",
            where=where,
            hint=f"its shape is {list(argument.logical)}; write one entry a dimension",
        )
    spread = [DimSpec()] * len(argument.shape)
    for dim, group in zip(dims, logical_groups(argument.shape, argument.logical), strict=True):
        for member in group:
            spread[member] = DimSpec((), dim.open)
        spread[group[-1]] = dim
    return tuple(spread)


def _check_sizes(dims: Iterable[DimSpec], argument: Argument, mesh: Mesh, where: str) -> None:
    for number, (dim, size) in enumerate(zip(dims, argument.shape, strict=True)):
        parts = mesh.size(dim.axes)
        if not splits(size, dim.axes, mesh):
            axes = "×".join(dim.axes)
            raise JogakError(
                f"dimension {number} of {argument.name!r} of size {size} cannot be split {parts} ways by {axes}",
                where=where,
                hint=f"leave it whole ('_'), or use axes of up to {size} devices",
            )
