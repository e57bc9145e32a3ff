"""The program of a device as Python that calls the compiled functions."""

from __future__ import annotations

import inspect

from jogak.runtime.program import Program
from jogak.runtime.types import dtype_of
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.writer import Frame, Writer, render
from jogak.targets.iree.engine import Functions
from jogak.targets.iree.segments import CallStep, Segmented


class _Writer(Writer):
    """The state of writing one program."""

    target = "iree"

    def __init__(self, program: Program, mesh: Mesh) -> None:
        super().__init__(program, mesh, frozenset(["Functions", "load", "TYPES"]))
        self.types: list[str] = []

    def compute(self, step: CallStep) -> None:
        """Write the call of a function."""
        names = [
            self._define(number, type_, f"value_{number}")
            for number, type_ in zip(step.results, step.types, strict=True)
        ]
        self._owned.update(step.results)
        types = "".join(f"({dtype_of(type_.element)}, {type_.shape!r}), " for type_ in step.types)
        self.types.append(f'    "{step.name}": ({types}),')
        given = [self._names[number] for number in step.operands]
        given += [f'mesh.position["{axis}"]' for axis in step.axes]
        arguments = "".join(f", {each}" for each in given)
        self._line(f'[{", ".join(names)}] = constants.call("{step.name}", TYPES["{step.name}"]{arguments})')


def write_program(cut: Segmented, mesh: Mesh, digest: str, title: str) -> str:
    """The text of `device.py`.

    Args:
        cut: the program.
        mesh: the mesh that it is for.
        digest: of the compiled module.
        title: what it is, one line.

    Raises:
        JogakError: a collective cannot be run.
    """
    writer = _Writer(cut.program, cut.program.mesh or mesh)
    writer.write(cut.steps)
    functions = [inspect.getsource(Functions), _LOAD.format(digest=digest)]
    tables = _TABLES.format("\n".join(writer.types))
    frame = Frame(title, _ABOUT, _IMPORTS, tables, "the compiled functions.", functions)
    return render(writer, frame, None)


MODULE = "segments.vmfb"
_ABOUT = """\
It needs torch and IREE's runtime. `main` is what one device does: it calls the functions of segments.vmfb, which are
those of segments.mlir compiled, and collectives between them; `run.py` beside it starts it on every device. Names and
lines in comments are those of the model. A collective returns at once and is waited for where its result is needed."""
_IMPORTS = """\
import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

_CPU = 1"""
_TABLES = '''\
CONSTANTS = False
"""All constants are in the compiled module."""

ON_CPU = True
"""Where the compiled functions run, whatever devices there are."""

TYPES = {{
{}
}}
"""Results of each function."""'''
_LOAD = '''\
def load(folder):
    """The compiled functions."""
    return Functions(folder / "segments.vmfb", "{digest}")
'''
