"""Jogak: from one PyTorch model to the programs that many devices run.

`jogak.compile(model, args, mesh="data=2,model=2")` is the Python form of `jogak compile`. Importing this package
imports neither torch nor MLIR. `jogak.load(folder)` is a finished output as a function, for training scripts.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jogak.plan import Plan, compile
    from jogak.targets.distributed.load import Step, load

_HOMES = {
    "Plan": "jogak.plan",
    "compile": "jogak.plan",
    "Step": "jogak.targets.distributed.load",
    "load": "jogak.targets.distributed.load",
}
__all__ = ["Plan", "Step", "compile", "load"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        found: object = getattr(importlib.import_module(_HOMES[name]), name)
        return found
    raise AttributeError(f"module 'jogak' has no attribute {name!r}")
