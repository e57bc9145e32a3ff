"""The program of a device as the text of a Python module."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.kernels.build import build
from jogak.runtime.program import CollectiveStep, ConstantStep, KernelStep, Program, Step
from jogak.runtime.spec import KernelSpec, LinalgSpec
from jogak.runtime.types import Precision, TensorType, dtype_of
from jogak.sharding.mesh import Mesh
from jogak.targets.torch.kernels import Source, identifier, source_of
from jogak.targets.torch.loop import loop_source
from jogak.targets.torch.schedule import overlap, starts_communication

_INLINE = 8
"""Constants of at most this many elements are written into the program."""
_LOCATION = re.compile(r"(?P<file>.*):(?P<line>\d+)(?: \((?P<scope>.*)\))?$")
_RESERVED = frozenset(["torch", "mesh", "arguments", "constants", "inf", "nan", "device", "main", "run_loop"])


class _Writer:
    """The state of writing one program.

    Attributes:
        body: lines of `main`.
        functions: source of each kernel function by name.
        constants: constants that are too large for the text, by name.
        groups: the axes of every collective.
    """

    def __init__(self, program: Program, mesh: Mesh, precision: Precision | None) -> None:
        self.program = program
        self.mesh = mesh
        self.precision = precision
        self.body: list[str] = []
        self.functions: dict[str, list[str]] = {}
        self.constants: dict[str, Tensor] = {}
        self.groups: dict[tuple[str, ...], None] = {}
        self._types: dict[int, TensorType] = {}
        self._names: dict[int, str] = {}
        self._roots: dict[int, frozenset[int]] = {}
        self._live: set[int] = set()
        self._pending: set[int] = set()
        self._place = ""
        self._kernels: dict[tuple[KernelSpec, frozenset[int]], tuple[Source, str]] = {}
        updated = {result.updates for result in program.results}
        self._owned = {each.value for number, each in enumerate(program.arguments) if number in updated}
        self._sent: dict[int, frozenset[int]] = {}
        self._taken = set(_RESERVED)

    def write(self) -> None:
        """Write everything."""
        for argument in self.program.arguments:
            self._define(argument.value, argument.type, identifier(argument.name))
        self._live.update(self._types)
        results = [result.value for result in self.program.results]
        steps = overlap(self.program.steps, results)
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
            self._line(f"# {_describe(location)}")

    def _step(self, step: Step) -> None:
        self._comment(step.location)
        for number in step.operands:
            self._settle(number)
        if isinstance(step, KernelStep):
            self._kernel(step)
        elif isinstance(step, ConstantStep):
            self._constant(step)
        else:
            self._collective(step)
        self._live.update(step.results)
        for number in step.frees:
            self._settle(number)
        self._live.difference_update(step.frees)
        if step.frees:
            self._line(f"del {', '.join(self._names[number] for number in step.frees)}")

    def _kernel(self, step: KernelStep) -> None:
        source, scope = self._source(step)
        types = step.spec.operands[step.spec.inputs :] if isinstance(step.spec, LinalgSpec) else step.spec.results
        label = source.calls[-1] if source.calls else "copy"
        operands = [self._names[number] for number in step.operands]
        shared = [root for at in source.aliases for root in self._roots[step.operands[at]]]
        names = [
            self._define(number, type_, f"{identifier(label)}_{number}")
            for number, type_ in zip(step.results, types, strict=True)
        ]
        for number in step.results:
            self._roots[number] = frozenset([number, *step.results, *shared])
        if source.owned and len(step.results) == 1:
            self._owned.update(step.results)
        self._line(f"{', '.join(names)} = {_call(source, scope, operands)}")

    def _source(self, step: KernelStep) -> tuple[Source, str]:
        """The source of a kernel and the name of its function; a new function where it needs one."""
        donated = self._donated(step)
        known = self._kernels.get((step.spec, donated))
        if known is None:
            kernel = build(step.spec, self.precision)
            types = [self._types[number] for number in step.operands]
            source = source_of(kernel, types, self.precision, donated)
            known = self._kernels[step.spec, donated] = source, self._function(source, step.location)
        return known

    def _donated(self, step: KernelStep) -> frozenset[int]:
        """The operands that a kernel may overwrite: they end here, and nothing that lives on shares their memory."""
        return frozenset(
            at
            for at, number in enumerate(step.operands)
            if number in step.frees
            and number in self._owned
            and step.operands.count(number) == 1
            and all(self._roots[number].isdisjoint(self._roots[other]) for other in self._live - {number})
            and all(self._roots[number].isdisjoint(sent) for sent in self._sent.values())
        )

    def _function(self, source: Source, location: str) -> str:
        if source.inline:
            return ""
        found = _LOCATION.match(location)
        scope = (found["scope"] or PurePath(found["file"]).stem) if found else location.split(".")[0]
        parts = [part for part in scope.split(".") if not part.isdigit()]
        base = identifier("_".join([*parts[-2:], *dict.fromkeys(source.calls[-3:])]))
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        self._add_function(name, source, location)
        return name

    def _add_function(self, name: str, source: Source, location: str) -> None:
        lines = list(source.lines)
        for target, helper in source.helpers.items():
            self._add_function(f"{name}_{target}", helper, location)
            lines = [line.replace(f"helper_{target}", f"{name}_{target}") for line in lines]
        self.functions[name] = [
            f"def {name}({', '.join(source.inputs)}):",
            f'    """First used at {_describe(location)}."""',
            *(f"    {line}" for line in lines),
        ]

    def _constant(self, step: ConstantStep) -> None:
        data = step.data.to(dtype_of(step.type.element, self.precision))
        name = self._define(step.results[0], step.type, f"constant_{step.results[0]}")
        if data.numel() <= _INLINE:
            self._line(f"{name} = torch.tensor({data.tolist()!r}, dtype={data.dtype})")
            return
        self.constants[name] = data.contiguous()
        self._line(f'{name} = constants["{name}"]')
        self._roots[step.results[0]] = frozenset([step.results[0], -1])

    def _collective(self, step: CollectiveStep) -> None:
        operands = [self._names[number] for number in step.operands]
        text = self._collective_call(step, operands)
        kind = step.collective.kind
        types = [step.result_type] * len(step.results)
        labels = step.collective.axes if kind == "process_multi_index" else [kind] * len(types)
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
            self.groups[step.collective.axes] = None
        if kind == "all_slice" or (self.mesh.size(step.collective.axes) == 1 and step.operands):
            self._roots[step.results[0]] |= self._roots[step.operands[0]]

    def _collective_call(self, step: CollectiveStep, operands: Sequence[str]) -> str:
        collective, tensor = step.collective, operands[0] if operands else ""
        axes = _tuple(collective.axes)
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
            case "process_multi_index":
                return ", ".join(f'torch.tensor(mesh.position["{axis}"])' for axis in collective.axes)
            case "process_linear_index":
                return "torch.tensor(mesh.rank)"
            case "grid_shape":
                return ", ".join(f"torch.tensor({self.mesh.sizes[axis]})" for axis in collective.axes)
        raise JogakError(
            f"the target torch cannot run shard.{collective.kind}",
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


def _call(source: Source, name: str, operands: Sequence[str]) -> str:
    if name:
        return f"{name}({', '.join(operands)})"
    renamed = dict(zip(source.inputs, operands, strict=True))
    return re.sub(r"\barg\d+\b", lambda found: renamed[found[0]], source.expression or "")


def _tuple(axes: Sequence[str]) -> str:
    return f"({', '.join(map(repr, axes))}{',' if len(axes) == 1 else ''})".replace("'", '"')


def _describe(location: str) -> str:
    """`blocks.0.attn, gpt2.py:54` from a location."""
    found = _LOCATION.match(location)
    if found is None:
        return location
    place = f"{found['file']}:{found['line']}"
    return f"{found['scope']}, {place}" if found["scope"] else place


def write_program(
    program: Program, mesh: Mesh, precision: Precision | None, title: str
) -> tuple[str, Mapping[str, Tensor]]:
    """The text of `device.py`, and the constants that are saved beside it.

    Args:
        program: what every device runs.
        mesh: the mesh that it is for.
        precision: "f64" holds and computes every float in float64.
        title: what it is, one line.

    Raises:
        JogakError: an op cannot be run by this target.
    """
    writer = _Writer(program, program.mesh or mesh, precision)
    writer.write()
    functions = ["\n".join(lines) + "\n" for lines in writer.functions.values()]
    if any("run_loop(" in text for text in functions):
        functions.insert(0, loop_source())
    groups = "".join(f"    {_tuple(axes)},\n" for axes in writer.groups)
    described = [
        (name, tuple((each.name, str(dtype_of(each.type.element, precision)), each.type.shape) for each in values))
        for name, values in (("ARGUMENTS", program.arguments), ("RESULTS", program.results))
    ]
    tables = "\n\n".join(f"{name} = (\n{_rows(rows)})" for name, rows in described)
    axes = ", ".join(f'"{axis}": {size}' for axis, size in zip(writer.mesh.axes, writer.mesh.shape, strict=True))
    text = _TEMPLATE.format(
        title=title,
        axes=axes,
        groups=f"(\n{groups})" if groups else "()",
        constants=bool(writer.constants),
        tables=tables,
        functions="\n\n".join(functions) + ("\n\n" if functions else ""),
        body="\n".join(writer.body),
    )
    return text, writer.constants


def _rows(rows: Sequence[tuple[str, str, tuple[int, ...]]]) -> str:
    return "".join(f"    ({name!r}, {dtype}, {shape!r}),\n" for name, dtype, shape in rows)


_TEMPLATE = '''"""{title}

It needs torch alone. `main` is what one device does; `run.py` beside it starts it on every device. Names and lines in
comments are those of the model. A collective returns at once and is waited for where its result is needed.
"""

# ruff: noqa
from __future__ import annotations

from math import inf, nan

import torch
from torch import device

MESH = {{{axes}}}
"""Size of each mesh axis; ranks count the last one fastest."""

GROUPS = {groups}
"""Mesh axes of the collectives."""

CONSTANTS = {constants}
"""Whether constants.safetensors holds tensors that the program needs."""

{tables}


{functions}def main(arguments, constants, mesh):
    """Run the program on one device.

    Args:
        arguments: this device's tensors in the order of ARGUMENTS; the list is emptied, so that they can be freed.
        constants: the tensors of constants.safetensors.
        mesh: a rank.mesh.Mesh.

    Returns:
        This device's results in the order of RESULTS.
    """
{body}
'''
