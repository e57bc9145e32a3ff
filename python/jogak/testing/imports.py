"""Models that are built in are imported once in a process: many tests compile the same small model in several ways.

What a name of the zoo or of Hugging Face stands for never changes; files of the user do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from jogak.ingress.importer import Imported
from jogak.ingress.model import BUILDERS
from jogak.ingress.options import ImportOptions

Importer = Callable[[str, ImportOptions], Imported]


def once(import_program: Importer, kept: int = 8) -> Importer:
    """`import_program`, which keeps the last programs and gives a copy of its own to each that asks.

    Args:
        kept: how many programs.
    """
    remembered = lru_cache(kept)(import_program)

    def imported(spec: str, options: ImportOptions) -> Imported:
        if not spec.startswith(tuple(f"{builder}:" for builder in BUILDERS)):
            return import_program(spec, options)
        found = remembered(spec, options)
        return replace(found, module=found.module.operation.clone(), inputs=dict(found.inputs))

    return imported
