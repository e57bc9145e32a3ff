"""Jogak's own passes and targets, as a plug-in like any other.

A pass is one file, `<family>/<pass_file>.py`, with one public frozen dataclass; the file `strip_asserts.py` holds the
pass `jogak-strip-asserts`. Nothing else registers it: the list is read from the folders, and a file is imported when
its pass is first used.
"""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jogak.plugin import CostModelFactory, Pass, PassFactory, Plugin

if TYPE_CHECKING:
    from jogak.targets.target import Target

_ROOT = Path(__file__).parent


def pass_files() -> dict[str, Path]:
    """Pass name to the file that defines it."""
    files = sorted(path for path in _ROOT.glob("*/*.py") if not path.name.startswith("_"))
    return {f"jogak-{path.stem.replace('_', '-')}": path for path in files}


def _load(name: str, path: Path) -> type[Pass]:
    module = importlib.import_module(f"{__name__}.{path.parent.name}.{path.stem}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Pass)]
    (kind,) = [kind for kind in kinds if vars(kind).get("name") == name]
    return kind


def _factories() -> dict[str, PassFactory]:
    return {name: partial(_load, name, path) for name, path in pass_files().items()}


def _roofline() -> CostModelFactory:
    from jogak.cost.model import Roofline

    return Roofline


def _sim() -> Target:
    from jogak.targets.simulator import Simulator

    return Simulator()


def _torch() -> Target:
    from jogak.targets.torch.target import Torch

    return Torch()


def _iree(name: str) -> Target:
    from jogak.targets.iree.target import Iree

    return Iree(name)


_IREE = ("iree", "iree-cuda", "iree-rocm", "iree-vulkan")

plugin = Plugin(
    name="jogak",
    passes=_factories(),
    cost_models={"roofline": _roofline},
    targets={"sim": _sim, "torch": _torch, **{name: partial(_iree, name) for name in _IREE}},
)
