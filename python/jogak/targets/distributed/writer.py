"""The text of `device.py`: names and lifetimes of values, and collectives that are waited for as late as possible.

A target brings what happens between collectives: kernels in PyTorch, or functions that another compiler made.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jogak.errors import JogakError
from jogak.runtime.liveness import Unit
from jogak.runtime.program import Collective, CollectiveStep, Program
from jogak.runtime.types import Precision, TensorType, dtype_of
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.schedule import starts_communication

LOCATION = re.compile(r"(?P<file>.*):(?P<line>\d+)(?: \((?P<scope>.*)\))?$")
AGAIN = "computed again"
"""What stands before steps that repeat others: a compiler must not see both together, it would merge them."""
_RESERVED = frozenset(["torch", "mesh", "arguments", "constants", "inf", "nan", "device", "main"])


class Writer:
    """The state of writing one program.

    Attributes:
        body: lines of `main`.
        groups: the axes of every collective.
    """

    target = ""
    """Its name, for errors."""

    def __init__(self, program: Program, mesh: Mesh, reserved: frozenset[str] = frozenset()) -> None:
        self.program = program
        self.mesh = mesh
        self.body: list[str] = []
        self.groups: dict[tuple[str, ...], None] = {}
        self._types: dict[int, TensorType] = {}
        self._names: dict[int, str] = {}
        self._roots: dict[int, frozenset[int]] = {}
        self._live: set[int] = set()
        self._pending: set[int] = set()
        self._place = ""
        self._again = False
        updated = {result.updates for result in program.results}
        self._owned = {each.value for number, each in enumerate(program.arguments) if number in updated}
        self._sent: dict[int, frozenset[int]] = {}
        self._taken = set(_RESERVED | reserved)

    def compute(self, step: Any) -> None:
        """Write a step that is no collective."""
        raise NotImplementedError

    def write(self, steps: Sequence[Unit]) -> None:
        """Write everything.

        Args:
            steps: in the order in which the device takes them.
        """
        for argument in self.program.arguments:
            self._define(argument.value, argument.type, identifier(argument.name))
        self._live.update(self._types)
        results = [result.value for result in self.program.results]
        used = {number for step in steps for number in step.operands} | set(results)
        self._unpack(used)
        for step in steps:
            self._step(step)
        for number in dict.fromkeys(results):
            self._settle(number)
        self._line(f"return [{', '.join(self._names[number] for number in results)}]")

    def _unpack(self, used: set[int]) -> None:
        names = [self._names[each.value] for each in self.program.arguments]
        unused = [self._names[each.value] for each in self.program.arguments if each.value not in used]
        self._line("(")
        for name, argument in zip(names, self.program.arguments, strict=True):
            self._line(f"    {name},  # {argument.type}")
        self._line(") = arguments" if names else ") = ()")
        self._line("arguments.clear()")
        if unused:
            self._line(f"del {', '.join(unused)}")

    def _line(self, text: str) -> None:
        self.body.append(f"    {text}")

    def _define(self, number: int, type_: TensorType, name: str) -> str:
        unique = name
        while unique in self._taken:
            unique += "_"
        self._taken.add(unique)
        self._types[number] = type_
        self._names[number] = unique
        self._roots[number] = frozenset([number])
        return unique

    def _settle(self, number: int) -> None:
        """Wait for a value that is still under way."""
        if number in self._pending:
            self._pending.discard(number)
            self._sent.pop(number, None)
            self._line(f"{self._names[number]} = {self._names[number]}.wait()")

    def _comment(self, location: str) -> None:
        if location != self._place:
            self._place = location
            self._line(f"# {describe(location)}")

    def _step(self, step: Unit) -> None:
        self._comment(step.location)
        again = getattr(step, "again", False)
        if again and not self._again:
            self._line(f'"{AGAIN}"')
        self._again = again
        for number in step.operands:
            self._settle(number)
        if isinstance(step, CollectiveStep):
            self._collective(step)
        else:
            self.compute(step)
        self._live.update(step.results)
        for number in step.frees:
            self._settle(number)
        self._live.difference_update(step.frees)
        if step.frees:
            self._line(f"del {', '.join(self._names[number] for number in step.frees)}")

    def _donated(self, step: Unit) -> frozenset[int]:
        """The operands that a step may overwrite: they end here, and nothing that lives on shares their memory."""
        return frozenset(
            at
            for at, number in enumerate(step.operands)
            if number in step.frees
            and number in self._owned
            and step.operands.count(number) == 1
            and all(self._roots[number].isdisjoint(self._roots[other]) for other in self._live - {number})
            and all(self._roots[number].isdisjoint(sent) for sent in self._sent.values())
        )

    def _collective(self, step: CollectiveStep) -> None:
        operands = [self._names[number] for number in step.operands]
        text = self._collective_call(step, operands)
        kind = step.collective.kind
        types = [step.result_type] * len(step.results)
        labels = _labels(step.collective.axes) if kind == "process_multi_index" else [kind] * len(types)
        names = [
            self._define(number, type_, f"{label}_{number}")
            for number, type_, label in zip(step.results, types, labels, strict=True)
        ]
        self._line(f"{', '.join(names)} = {text}")
        if starts_communication(step):
            self._pending.update(step.results)
            self._sent |= dict.fromkeys(step.results, self._roots[step.operands[0]])
            if self.mesh.size(step.collective.axes) > 1:
                self._owned.update(step.results)
            self.groups |= dict.fromkeys(_groups(step.collective))
        if kind == "all_slice" or (self.mesh.size(step.collective.axes) == 1 and step.operands):
            self._roots[step.results[0]] |= self._roots[step.operands[0]]

    def _collective_call(self, step: CollectiveStep, operands: Sequence[str]) -> str:
        collective, tensor = step.collective, operands[0] if operands else ""
        axes = tuple_text(collective.axes)
        match collective.kind:
            case "all_reduce":
                place = ", in_place=True" if self._dies_alone(step) else ""
                return f"mesh.all_reduce({tensor}, {axes}, {collective.reduction!r}{place})"
            case "reduce_scatter":
                return f"mesh.reduce_scatter({tensor}, {axes}, {collective.reduction!r}, dim={collective.dim})"
            case "all_gather" | "all_slice":
                return f"mesh.{collective.kind}({tensor}, {axes}, dim={collective.dim})"
            case "all_to_all":
                return f"mesh.all_to_all({tensor}, {axes}, split={collective.dim}, dim={collective.concat_dim})"
            case "permute":
                return f"mesh.permute({tensor}, {axes}, sources={collective.sources})"
            case "update_halo":
                place = ", in_place=True" if self._dies_alone(step) else ""
                return f"mesh.update_halo({tensor}, {_margins(collective)}{place})"
            case "process_multi_index":
                return ", ".join(f'torch.tensor(mesh.position["{axis}"])' for axis in collective.axes)
            case "process_linear_index":
                return "torch.tensor(mesh.rank)"
            case "grid_shape":
                return ", ".join(f"torch.tensor({self.mesh.sizes[axis]})" for axis in collective.axes)
        raise JogakError(
            f"the target {self.target} cannot run shard.{collective.kind}",
            where=step.location,
            hint="run it with --target sim, or choose a plan without it",
        )

    def _dies_alone(self, step: CollectiveStep) -> bool:
        """Whether the operand ends here and nothing that lives on, and no argument, shares its memory."""
        number = step.operands[0]
        if number not in step.frees or step.operand_type != step.result_type:
            return False
        roots = self._roots[number]
        held = {argument.value for argument in self.program.arguments} | {-1}
        others = self._live - {number}
        return roots.isdisjoint(held) and all(roots.isdisjoint(self._roots[other]) for other in others)


def _labels(axes: Sequence[str]) -> list[str]:
    """Names of mesh axes as parts of names in Python: a sub-axis is `x:(1)2`."""
    return [re.sub(r"\W+", "_", axis) for axis in axes]


def tuple_text(axes: Sequence[str]) -> str:
    return f"({', '.join(map(repr, axes))}{',' if len(axes) == 1 else ''})".replace("'", '"')


def _groups(collective: Collective) -> list[tuple[str, ...]]:
    """The axes of each group that communicates."""
    if collective.kind != "update_halo":
        return [collective.axes]
    return [axes for axes, _, _ in collective.halo if axes]


def _margins(collective: Collective) -> str:
    """`(2, ("x",), 1, 1)` for each dimension of a halo exchange that is split, the last one first."""
    halo = [(dim, *each) for dim, each in enumerate(collective.halo) if each[0]]
    return ", ".join(f"({dim}, {tuple_text(axes)}, {low}, {high})" for dim, axes, low, high in reversed(halo))


def describe(location: str) -> str:
    """`blocks.0.attn, gpt2.py:54` from a location."""
    found = LOCATION.match(location)
    if found is None:
        return location
    place = f"{found['file']}:{found['line']}"
    return f"{found['scope']}, {place}" if found["scope"] else place


def identifier(text: str) -> str:
    """A Python identifier that resembles a text."""
    name = re.sub(r"\W+", "_", text).strip("_") or "value"
    return f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name


@dataclass(frozen=True)
class Frame:
    """What a target puts around the body of `main`.

    Attributes:
        title: what the program is, one line.
        about: the rest of the module's docstring.
        imports: lines.
        tables: definitions of module-level names.
        constants: what the argument `constants` of `main` is.
        functions: the source of each function.
    """

    title: str
    about: str
    imports: str
    tables: str
    constants: str
    functions: Sequence[str]


def render(writer: Writer, frame: Frame, precision: Precision | None) -> str:
    """The whole text of `device.py`."""
    groups = "".join(f"    {tuple_text(axes)},\n" for axes in writer.groups)
    described = [
        (name, tuple((each.name, str(dtype_of(each.type.element, precision)), each.type.shape) for each in values))
        for name, values in (("ARGUMENTS", writer.program.arguments), ("RESULTS", writer.program.results))
    ]
    axes = ", ".join(f'"{axis}": {size}' for axis, size in zip(writer.mesh.axes, writer.mesh.shape, strict=True))
    return _TEMPLATE.format(
        title=frame.title,
        about=frame.about,
        imports=frame.imports,
        axes=axes,
        groups=f"(\n{groups})" if groups else "()",
        tables="\n\n".join([frame.tables, *(f"{name} = (\n{_rows(rows)})" for name, rows in described)]),
        constants=frame.constants,
        functions="\n\n".join(frame.functions) + ("\n\n" if frame.functions else ""),
        body="\n".join(writer.body),
    )


def _rows(rows: Sequence[tuple[str, str, tuple[int, ...]]]) -> str:
    return "".join(f"    ({name!r}, {dtype}, {shape!r}),\n" for name, dtype, shape in rows)


_TEMPLATE = '''"""{title}

{about}
"""

# ruff: noqa
from __future__ import annotations

{imports}

MESH = {{{axes}}}
"""Size of each mesh axis; ranks count the last one fastest."""

GROUPS = {groups}
"""Mesh axes of the collectives."""

{tables}


{functions}def main(arguments, constants, mesh):
    """Run the program on one device.

    Args:
        arguments: this device's tensors in the order of ARGUMENTS; the list is emptied, so that they can be freed.
        constants: {constants}
        mesh: a rank.mesh.Mesh.

    Returns:
        This device's results in the order of RESULTS.
    """
{body}
'''
