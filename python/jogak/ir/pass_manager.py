"""Runs pipelines that mix MLIR's C++ passes with Jogak's Python passes.

The whole pipeline is checked before the first pass runs: names, options and nesting. MLIR would abort the process for
some of these mistakes. Each pass then runs in a pass manager of its own, which costs microseconds and lets timing,
printing and verification treat C++ and Python passes alike. The module is changed in place and never becomes text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from jogak.errors import JogakError, nearest
from jogak.ir import mlir_passes
from jogak.ir.context import collect_from, from_mlir_error
from jogak.ir.diagnostics import Diagnostic, PassFailed, Severity, collect, source_location
from jogak.ir.instrument import Instrumentation
from jogak.ir.module import main_function
from jogak.ir.options import build_pass
from jogak.ir.pipeline import Nest, PassCall, parse_pipeline
from jogak.plugin import Pass
from jogak.registry import Registry, active_registry, using

MODULE = "builtin.module"
_NO_SUCH_OPTION = re.compile(r"no such option (\S+)")


@dataclass(frozen=True)
class PipelineResult:
    """What a run of a pipeline told.

    Attributes:
        timings: name and seconds of each pass, in order.
        diagnostics: warnings and remarks.
    """

    timings: Sequence[tuple[str, float]]
    diagnostics: Sequence[Diagnostic]


class Step(Protocol):
    """One pass, ready to run."""

    name: str

    def run(self, module: ir.Module, *, verify: bool) -> None:
        """Change the module; raise `PassFailed` where that is impossible."""


def run_pipeline(
    module: ir.Module,
    pipeline: str | Nest,
    *,
    registry: Registry | None = None,
    instrument: Instrumentation | None = None,
) -> PipelineResult:
    """Run a pipeline on a module, in place.

    Python passes run with the module's context and an unknown location entered, so that they can build ops.

    Args:
        module: the module.
        pipeline: MLIR's textual form, or the tree that `parse_pipeline` returns.
        registry: where Python passes come from; by default that of the enclosing pipeline, or the installed plug-ins.
        instrument: printing, verification and timing; its records survive a failure.

    Raises:
        JogakError: the pipeline is malformed, or names unknown passes or options; nothing was run.
        PassFailed: a pass failed or left an invalid module behind.
    """
    watch = instrument or Instrumentation()
    known = registry or active_registry()
    steps = prepare(pipeline, module.context, known)
    with collect() as told, using(known), module.context, ir.Location.unknown(module.context):
        handler = collect_from(module.context, told)
        try:
            for step in steps:
                with watch.around(step.name, module):
                    step.run(module, verify=watch.verify_each)
        finally:
            handler.detach()
            watch.diagnostics.items.extend(told.items)
    return PipelineResult(tuple(watch.timings), tuple(watch.diagnostics.items))


def prepare(pipeline: str | Nest, context: ir.Context, registry: Registry) -> list[Step]:
    """Check a pipeline and make every pass of it ready to run.

    Raises:
        JogakError: a name, an option or the nesting is wrong.
    """
    tree = parse_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    if tree.anchor != MODULE:
        hint = f"write {MODULE}({tree})"
        raise JogakError(f"the pipeline starts with {tree.anchor!r}, but it runs on modules", hint=hint)
    return [_step(anchors, call, context, registry) for anchors, call in tree.leaves()]


def _step(anchors: tuple[str, ...], call: PassCall, context: ir.Context, registry: Registry) -> Step:
    if call.name in registry.passes():
        return _python_step(anchors, call, registry)
    mlir_pass = mlir_passes.registered().get(call.name)
    if mlir_pass is None:
        raise _unknown_pass(call.name, registry)
    for anchor in anchors:
        _check_anchor(anchor, context)
    mlir_passes.check(mlir_pass, anchors, call)
    return _cpp_step(anchors, call, mlir_pass, context)


def _check_anchor(anchor: str, context: ir.Context) -> None:
    """MLIR accepts the name of an op that does not exist, and then never runs what is nested in it."""
    if anchor == "any" or context.is_registered_operation(anchor):
        return
    hint = "nest passes in func.func(...), or in another op that has regions"
    raise JogakError(f"there is no op {anchor!r} to nest passes in", where="pass pipeline", hint=hint)


def _unknown_pass(name: str, registry: Registry) -> JogakError:
    close = nearest(name, [*registry.passes(), *mlir_passes.registered()])
    suggestion = f"did you mean {close!r}? " if close else ""
    return JogakError(f"unknown pass {name!r}", hint=f"{suggestion}jogak-opt --list-passes prints all of them")


def _python_step(anchors: tuple[str, ...], call: PassCall, registry: Registry) -> Step:
    if anchors != (MODULE,):
        hint = f"move it out of {'.'.join(anchors[1:])}(...): {MODULE}({call})"
        raise JogakError(f"pass {call.name!r} runs on the module, not on {anchors[-1]!r}", hint=hint)
    return _PythonStep(call.name, build_pass(registry.pass_class(call.name), call))


def _cpp_step(anchors: tuple[str, ...], call: PassCall, known: mlir_passes.MlirPass, context: ir.Context) -> Step:
    text = str(call)
    for anchor in reversed(anchors):
        text = f"{anchor}({text})"
    try:
        return _CppStep(call.name, PassManager.parse(text, context))
    except ValueError as error:
        option = _NO_SUCH_OPTION.search(str(error))
        if option is not None:
            raise mlir_passes.unknown_option(known, option[1]) from None
        reason = " ".join(str(error).split())
        hint = f"jogak-opt --help-pass {call.name} shows its options"
        raise JogakError(f"MLIR refuses {text!r}: {reason}", where=f"pass {call.name!r}", hint=hint) from None


@dataclass
class _CppStep:
    name: str
    manager: PassManager

    def run(self, module: ir.Module, *, verify: bool) -> None:
        self.manager.enable_verifier(verify)
        try:
            self.manager.run(module.operation)
        except ir.MLIRError as error:
            raise PassFailed(from_mlir_error(error)) from None


@dataclass
class _PythonStep:
    name: str
    work: Pass

    def run(self, module: ir.Module, *, verify: bool) -> None:
        try:
            self.work.run(module)
        except PassFailed:
            raise
        except JogakError as error:
            raise PassFailed([_diagnostic(error, module)]) from error
        if verify:
            self._verify(module)

    def _verify(self, module: ir.Module) -> None:
        try:
            module.operation.verify()
        except ir.MLIRError as error:
            message = f"the module is invalid after pass {self.name!r}: "
            broken = [
                Diagnostic(Severity.ERROR, message + each.message, each.location, each.notes)
                for each in from_mlir_error(error)
            ]
            raise PassFailed(broken) from None


def _diagnostic(error: JogakError, module: ir.Module) -> Diagnostic:
    """The diagnostic for an error of a function that knows no IR: it points at the module, or at `@main` in it."""
    message = f"{error.where}: {error.message}" if error.where else error.message
    place = source_location(module.operation.location)
    if not place.line:  # of a module that is only implied by its functions
        with suppress(JogakError):
            place = source_location(main_function(module).operation.location)
    return Diagnostic(Severity.ERROR, message, place, hint=error.hint)
