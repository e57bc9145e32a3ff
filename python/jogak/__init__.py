"""Jogak: from one PyTorch model to the programs that many devices run.

`jogak.compile(model, args, mesh="data=2,model=2")` is the Python form of `jogak compile`. Importing this package
imports neither torch nor MLIR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jogak.plan import Plan, compile

__all__ = ["Plan", "compile"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from jogak import plan

        return getattr(plan, name)
    raise AttributeError(f"module 'jogak' has no attribute {name!r}")
