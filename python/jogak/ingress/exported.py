"""Programs that `torch.export.save` wrote: `.pt2` files."""

from __future__ import annotations

import logging
import types
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from jogak.errors import JogakError
from jogak.ingress.model import Model


def _read(path: Path) -> ExportedProgram:
    if not zipfile.is_zipfile(path):
        raise JogakError(
            "is not a .pt2 file (not a zip archive)", where=str(path), hint="write it with torch.export.save"
        )
    logged = _Logged()
    log = logging.getLogger("torch.export")
    log.addFilter(logged)
    try:
        return torch.export.load(path)
    except Exception as error:
        raise JogakError(
            f"cannot be read as an exported program: {logged.reasons[-1] if logged.reasons else error}",
            where=str(path),
            hint=f"write it with torch.export.save of torch {torch.__version__}",
        ) from error
    finally:
        log.removeFilter(logged)


class _Logged(logging.Filter):
    """Keeps the exceptions that torch would only log, and lets nothing through."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[BaseException] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            self.reasons.append(record.exc_info[1])
        return False


def _check_static(program: ExportedProgram, path: Path) -> None:
    """Refuse dynamic shapes, naming each argument and dimension."""
    wanted = set(program.graph_signature.user_inputs)
    dynamic = [
        f"{node.name} dimension {dimension}"
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in wanted and isinstance(node.meta.get("val"), Tensor)
        for dimension, size in enumerate(node.meta["val"].shape)
        if not isinstance(size, int)
    ]
    if dynamic:
        raise JogakError(
            f"dynamic shapes are not supported: {', '.join(dynamic)}",
            where=str(path),
            hint="export again without dynamic_shapes, with example inputs of the sizes to compile for",
        )


class _Interpreter(fx.Interpreter):
    """Runs an exported graph node by node, so that the tracer sees the source location that each node carries."""

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # The only module that is called checks the inputs against the example, values included.
        return None if target == "_guards_fn" else super().call_module(target, args, kwargs)


def _forward(module: fx.GraphModule, *args: Any, **kwargs: Any) -> Any:
    return _Interpreter(module).run(*pytree.tree_leaves((args, kwargs)))


def load_exported(path: Path) -> Model:
    """Load an exported program with static shapes; its parameters, buffers and constants become arguments.

    Raises:
        JogakError: the file is no exported program, has dynamic shapes, or holds no example inputs.
    """
    program = _read(path)
    _check_static(program, path)
    if program.example_inputs is None:
        raise JogakError("holds no example inputs", where=str(path), hint="export the model again with this torch")
    args, kwargs = program.example_inputs
    module = program.module(check_guards=False)
    module.forward = types.MethodType(_forward, module)
    names = [str(name) for name in program.graph_signature.user_inputs if isinstance(name, str)]
    return Model(str(path), module, tuple(args), dict(kwargs), names=names, exported=True)
