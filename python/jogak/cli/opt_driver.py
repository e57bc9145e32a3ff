"""The work of `jogak-opt`: chunks of input through a pipeline, diagnostics shown or checked."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from time import perf_counter

from torch_mlir import ir

from jogak.cli import opt_help
from jogak.errors import EXIT_OK, EXIT_USER, JogakError
from jogak.ir.context import new_context, parse_module, rename_buffer
from jogak.ir.diagnostics import Diagnostic, PassFailed, Severity
from jogak.ir.instrument import Instrumentation, IrPrinting
from jogak.ir.module import print_module
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipeline import Nest, parse_pipeline
from jogak.ir.timing import timing_report
from jogak.registry import Registry, discover
from jogak.testing.expectations import mismatches

_SPLIT = re.compile(r"^// -----[^\n]*\n?", re.MULTILINE)
_JOINT = "// -----\n"


@dataclass
class _Job:
    """Everything that one run of the command needs and collects."""

    options: argparse.Namespace
    registry: Registry
    pipeline: Nest
    printing: IrPrinting
    elide: int | None
    timings: list[tuple[str, float]] = field(default_factory=list)
    failed: bool = False

    @property
    def shown_name(self) -> str:
        return "<stdin>" if self.options.input == "-" else str(self.options.input)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.timings.append((name, perf_counter() - start))


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; returns the exit code.

    Raises:
        JogakError: the input cannot be read, or the pipeline or a plug-in is wrong.
    """
    registry = discover()
    for source in options.load_plugin:
        registry.load(source)
    answer = _answer(options, registry)
    if answer is not None:
        sys.stdout.write(answer)
        return EXIT_OK
    job = _job(options, registry)
    if options.dump_pass_pipeline:
        print(job.pipeline, file=sys.stderr)
    start = perf_counter()
    _process_input(job)
    if options.mlir_timing:
        sys.stderr.write(timing_report(job.timings, perf_counter() - start, options.mlir_output_format))
    return EXIT_USER if job.failed else EXIT_OK


def _answer(options: argparse.Namespace, registry: Registry) -> str | None:
    """The text for an option that only asks, None when there is none."""
    if options.list_passes:
        return opt_help.list_passes(registry)
    if options.help_pass:
        return opt_help.help_pass(options.help_pass, registry)
    if options.show_dialects:
        return opt_help.show_dialects()
    return None


def _job(options: argparse.Namespace, registry: Registry) -> _Job:
    text = options.pass_pipeline
    if text.startswith("@"):
        text = _read(text[1:])
    elide = options.mlir_elide_elementsattrs_if_larger
    limit = None if elide < 0 else elide
    printing = IrPrinting(
        before=options.mlir_print_ir_before,
        before_all=options.mlir_print_ir_before_all,
        after=options.mlir_print_ir_after,
        after_all=options.mlir_print_ir_after_all,
        after_change=options.mlir_print_ir_after_change,
        after_failure=options.mlir_print_ir_after_failure,
        tree_dir=options.mlir_print_ir_tree_dir,
        elide=limit,
        locations=options.mlir_print_debuginfo,
    )
    return _Job(options, registry, parse_pipeline(text), printing, limit)


def _process_input(job: _Job) -> None:
    text = _read(job.options.input)
    chunks = split_input(text) if job.options.split_input_file else [text]
    outputs = [_process_chunk(chunk, job) for chunk in chunks]
    if job.failed and job.options.output != "-":
        return
    _write(job.options.output, _JOINT.join(output for output in outputs if output is not None))


def split_input(text: str) -> list[str]:
    """The parts between `// -----` lines, each behind empty lines so that its line numbers are those of the file."""
    parts: list[str] = []
    start = 0
    for end, following in [*((match.start(), match.end()) for match in _SPLIT.finditer(text)), (len(text), 0)]:
        parts.append("\n" * text.count("\n", 0, start) + text[start:end])
        start = following
    return parts


def _process_chunk(text: str, job: _Job) -> str | None:
    """Run one chunk; returns its output, None when it failed."""
    watch = Instrumentation(job.printing, job.options.verify_each)
    output = None
    told: list[Diagnostic] = []
    try:
        output = _transform(text, job, watch)
    except PassFailed as error:
        told = list(error.diagnostics)
    told = [rename_buffer(diagnostic, job.shown_name) for diagnostic in (*watch.diagnostics.items, *told)]
    verify = job.options.verify_diagnostics
    lines = mismatches(text, told, job.shown_name) if verify else [diagnostic.render() for diagnostic in told]
    for line in lines:
        print(line, file=sys.stderr)
    job.failed |= bool(lines) if verify else output is None
    return output


def _transform(text: str, job: _Job, watch: Instrumentation) -> str:
    with job.timed("Context"):
        context = new_context(allow_unregistered=job.options.allow_unregistered_dialect)
    with job.timed("Parser"):
        module = parse_module(text, context)
    if job.options.verify_roundtrip:
        _verify_roundtrip(module, context)
    try:
        run_pipeline(module, job.pipeline, registry=job.registry, instrument=watch)
    finally:
        job.timings += watch.timings
    with job.timed("Output"):
        return print_module(module, elide=job.elide, locations=job.options.mlir_print_debuginfo)


def _verify_roundtrip(module: ir.Module, context: ir.Context) -> None:
    """Check that text and bytecode of a module are read back as the same module."""
    text = print_module(module, elide=None, locations=True)
    bytecode = BytesIO()
    module.operation.write_bytecode(bytecode)
    copies = {"text": parse_module(text, context), "bytecode": ir.Module.parse(bytecode.getvalue(), context)}
    for form, copy in copies.items():
        if print_module(copy, elide=None, locations=True) != text:
            raise PassFailed([Diagnostic(Severity.ERROR, f"the module changes when it is written and read as {form}")])


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        hint = "give the path of an existing file, or - for stdin"
        raise JogakError(f"cannot read the file: {error.strerror}", where=path, hint=hint) from None
    except UnicodeDecodeError:
        raise JogakError("the file is not UTF-8 text", where=path, hint="jogak-opt reads MLIR assembly") from None


def _write(path: str, text: str) -> None:
    """Write to stdout or to a file; a regular file gets its name only when it is complete."""
    if path == "-":
        sys.stdout.write(text)
        return
    target = Path(path).resolve()
    is_device = target.exists() and not target.is_file()
    partial = target if is_device else target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        if not is_device:
            partial.replace(target)
    except OSError as error:
        hint = "choose a path in a folder that exists and can be written"
        raise JogakError(f"cannot write the file: {error.strerror}", where=path, hint=hint) from None
