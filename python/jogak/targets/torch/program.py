"""The program of a device as the text of a Python module."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from torch import Tensor

from jogak.runtime.kernels.build import build
from jogak.runtime.program import ConstantStep, KernelStep, Program
from jogak.runtime.spec import KernelSpec, LinalgSpec
from jogak.runtime.types import Precision, dtype_of
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.schedule import overlap
from jogak.targets.distributed.writer import LOCATION, Frame, Writer, describe, identifier, render
from jogak.targets.torch.kernels import Source, source_of
from jogak.targets.torch.loop import loop_source
from jogak.targets.torch.scratch import device_steps, memory_of
from jogak.targets.torch.views import copied

_INLINE = 8
"""Constants of at most this many elements are written into the program."""


class _Writer(Writer):
    """The state of writing one program.

    Attributes:
        functions: source of each kernel function by name.
        constants: constants that are too large for the text, by name.
        copied: results that are copied into memory of their own.
    """

    target = "torch"

    def __init__(self, program: Program, mesh: Mesh, precision: Precision | None, copied: frozenset[int]) -> None:
        super().__init__(program, mesh, frozenset(["run_loop"]))
        self.copied = copied
        self.precision = precision
        self.functions: dict[str, list[str]] = {}
        self.constants: dict[str, Tensor] = {}
        self._kernels: dict[tuple[KernelSpec, frozenset[int]], tuple[Source, str]] = {}

    def compute(self, step: KernelStep | ConstantStep) -> None:
        """Write the call of a kernel, or a constant."""
        if isinstance(step, KernelStep):
            self._kernel(step)
        else:
            self._constant(step)

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
        text = _call(source, scope, operands)
        if step.results[0] in self.copied:
            text = f"({text}).clone()" if source.inline else f"{text}.clone()"
            self._roots[step.results[0]] = frozenset(step.results)
        self._line(f"{', '.join(names)} = {text}")

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

    def _function(self, source: Source, location: str) -> str:
        if source.inline:
            return ""
        found = LOCATION.match(location)
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
            f'    """First used at {describe(location)}."""',
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


def _call(source: Source, name: str, operands: Sequence[str]) -> str:
    if name:
        return f"{name}({', '.join(operands)})"
    renamed = dict(zip(source.inputs, operands, strict=True))
    return re.sub(r"\barg\d+\b", lambda found: renamed[found[0]], source.expression or "")


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
    results, memory = [result.value for result in program.results], memory_of(program)
    steps = overlap(device_steps(program), results, memory)
    writer = _Writer(program, program.mesh or mesh, precision, copied(steps, results, memory))
    writer.write(steps)
    functions = ["\n".join(lines) + "\n" for lines in writer.functions.values()]
    if any("run_loop(" in text for text in functions):
        functions.insert(0, loop_source())
    tables = _TABLES.format(bool(writer.constants))
    frame = Frame(title, _ABOUT, _IMPORTS, tables, "the tensors of constants.safetensors.", functions)
    return render(writer, frame, precision), writer.constants


_ABOUT = """\
It needs torch alone. `main` is what one device does; `run.py` beside it starts it on every device. Names and lines in
comments are those of the model. A collective returns at once and is waited for where its result is needed."""
_IMPORTS = """\
from math import inf, nan

import torch
from torch import device"""
_TABLES = '''\
CONSTANTS = {}
"""Whether constants.safetensors holds tensors that the program needs."""'''
