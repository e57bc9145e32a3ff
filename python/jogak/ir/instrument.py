"""What can be watched while a pipeline runs: the IR around passes, the time of each pass, the diagnostics.

The names and the meaning of the printing options are those of `mlir-opt`. The module is always printed whole.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TextIO

from torch_mlir import ir

from jogak.ir.diagnostics import Diagnostics
from jogak.ir.module import ELIDE_LARGER_THAN, print_module


@dataclass(frozen=True)
class IrPrinting:
    """When to print the module.

    Attributes:
        before: names of passes to print before.
        before_all: print before every pass.
        after: names of passes to print after.
        after_all: print after every pass.
        after_change: of the prints after a pass, only those where the pass changed the module; after every pass when
            no other option names passes.
        after_failure: print when a pass fails, and then only.
        tree_dir: write each print to a numbered file of this folder instead of stderr.
        elide: constants with more elements are written `...`; None writes everything.
        locations: print source locations.
    """

    before: frozenset[str] = frozenset()
    before_all: bool = False
    after: frozenset[str] = frozenset()
    after_all: bool = False
    after_change: bool = False
    after_failure: bool = False
    tree_dir: Path | None = None
    elide: int | None = ELIDE_LARGER_THAN
    locations: bool = False

    def wants_before(self, name: str) -> bool:
        return self.before_all or name in self.before

    def wants_after(self, name: str) -> bool:
        if self.after_failure:
            return False
        everything = self.after_all or (self.after_change and not self.after)
        return everything or name in self.after


@dataclass
class Instrumentation:
    """Watches one run of a pipeline; what it recorded stays readable when the run fails.

    Attributes:
        printing: when to print the module.
        verify_each: verify the module after every pass.
        stream: where prints go.
        timings: name and seconds of each pass that ran, in order.
        diagnostics: the warnings and remarks that passes told.
    """

    printing: IrPrinting = field(default_factory=IrPrinting)
    verify_each: bool = True
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    timings: list[tuple[str, float]] = field(default_factory=list)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    _prints: int = 0

    @contextmanager
    def around(self, name: str, module: ir.Module) -> Iterator[None]:
        """Time the pass that runs inside the block, and print the module around it as asked."""
        if self.printing.wants_before(name):
            self._print("Before", name, module)
        fingerprint = _fingerprint(module) if self.printing.after_change else ""
        start = perf_counter()
        try:
            yield
        except BaseException:
            if self.printing.after_failure or self.printing.wants_after(name):
                self._print("After", f"{name} Failed", module)
            raise
        finally:
            self.timings.append((name, perf_counter() - start))
        if self.printing.wants_after(name) and not (fingerprint and fingerprint == _fingerprint(module)):
            self._print("After", name, module)

    def _print(self, when: str, name: str, module: ir.Module) -> None:
        text = print_module(module, elide=self.printing.elide, locations=self.printing.locations)
        if self.printing.tree_dir is None:
            self.stream.write(f"// -----// IR Dump {when} {name} //----- //\n{text}\n")
            return
        self.printing.tree_dir.mkdir(parents=True, exist_ok=True)
        file = f"{self._prints}_{when.lower()}_{name.replace(' ', '_').lower()}.mlir"
        (self.printing.tree_dir / file).write_text(text, encoding="utf-8")
        self._prints += 1


def _fingerprint(module: ir.Module) -> str:
    text: str = module.operation.get_asm(enable_debug_info=True)
    return hashlib.sha256(text.encode()).hexdigest()
