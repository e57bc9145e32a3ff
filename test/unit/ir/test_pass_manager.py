"""Mixed pipelines: what runs, what is refused before anything runs, what is reported."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import ClassVar

import pytest
from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ir.diagnostics import PassFailed, Severity, fail, remark, warn
from jogak.ir.instrument import Instrumentation, IrPrinting
from jogak.ir.pass_manager import prepare, run_pipeline
from jogak.ir.pipeline import Nest
from jogak.plugin import Pass, Plugin
from jogak.registry import Registry, active_registry

TWICE = """
func.func @main(%a: i32) -> (i32, i32) {
  %0 = arith.addi %a, %a : i32
  %1 = arith.addi %a, %a : i32
  return %0, %1 : i32, i32
}
"""


@dataclass(frozen=True)
class Mark(Pass):
    name: ClassVar[str] = "test-mark"
    text: str = "seen"

    def run(self, module: ir.Module) -> None:
        module.operation.attributes["test.mark"] = ir.StringAttr.get(self.text)


@dataclass(frozen=True)
class Tell(Pass):
    name: ClassVar[str] = "test-tell"
    stop: bool = False

    def run(self, module: ir.Module) -> None:
        function = module.body.operations[0]
        warn(function, "a warning")
        remark(function, "a remark")
        if self.stop:
            fail(function, "an error", hint="do less")


@dataclass(frozen=True)
class Break(Pass):
    name: ClassVar[str] = "test-break"

    def run(self, module: ir.Module) -> None:
        empty = ir.FunctionType.get([], [])
        module.body.operations[0].attributes["function_type"] = ir.TypeAttr.get(empty)


@dataclass(frozen=True)
class Demand(Pass):
    name: ClassVar[str] = "test-demand"

    def run(self, module: ir.Module) -> None:
        raise JogakError("too small", where="mesh '2'", hint="use more")


@dataclass(frozen=True)
class Nested(Pass):
    name: ClassVar[str] = "test-nested"

    def run(self, module: ir.Module) -> None:
        assert "test-mark" in active_registry().passes()
        run_pipeline(module, "test-mark{text=inner}")


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = Registry()
    kinds = (Mark, Tell, Break, Demand, Nested)
    found.add(Plugin("test", {kind.name: lambda kind=kind: kind for kind in kinds}), "test")
    return found


def names(module: ir.Module) -> list[str]:
    return [op.operation.name for op in module.body.operations[0].regions[0].blocks[0].operations]


def test_python_and_cpp_passes_mix(parse, registry):
    module = parse(TWICE)
    result = run_pipeline(module, "builtin.module(func.func(cse),test-mark{text=x},canonicalize)", registry=registry)
    assert names(module) == ["arith.addi", "func.return"]
    assert module.operation.attributes["test.mark"].value == "x"
    assert [name for name, _ in result.timings] == ["cse", "test-mark", "canonicalize"]
    assert all(seconds >= 0 for _, seconds in result.timings)


def test_pass_that_runs_a_pipeline_sees_the_same_registry(parse, registry):
    module = parse(TWICE)
    run_pipeline(module, "test-nested", registry=registry)
    assert module.operation.attributes["test.mark"].value == "inner"


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("func.func(convert-func-to-llvm)", "runs only on 'builtin.module', not on 'func.func'"),
        ("any(convert-func-to-llvm)", "runs only on 'builtin.module', not on 'any'"),
        ("convert-torch-to-linalg", "write builtin.module(func.func(convert-torch-to-linalg))"),
        ("func.func(torch-backend-to-linalg-on-tensors-backend-pipeline)", "runs only on 'builtin.module'"),
        ("func.func(sparsifier)", "runs only on 'builtin.module'"),
        ("func.func(test-mark)", "pass 'test-mark' runs on the module, not on 'func.func'"),
        ("func.fun(cse)", "there is no op 'func.fun'"),
        ("canonicalise", "did you mean 'canonicalize'?"),
        ("test-marc", "did you mean 'test-mark'?"),
        ("zzzzzzzz", "jogak-opt --list-passes"),
        ("canonicalize{max-iteration=1}", "did you mean 'max-iterations'?"),
        ("canonicalize{max-iterations=few}", "cannot read 'few' as an integer"),
        ("canonicalize{top-down=maybe}", "cannot read 'maybe' as true or false"),
        ("canonicalize{region-simplify=wild}", "MLIR refuses"),
        ("test-mark{txt=1}", "did you mean 'text'?"),
    ],
)
def test_refused_before_anything_runs(parse, registry, pipeline, message):
    module = parse(TWICE)
    with pytest.raises(JogakError) as caught:
        run_pipeline(module, f"builtin.module(test-mark,{pipeline})", registry=registry)
    assert message in str(caught.value)
    assert "test.mark" not in module.operation.attributes


def test_pipeline_must_start_at_the_module(parse, registry):
    with pytest.raises(JogakError, match=r"starts with 'func\.func'"):
        prepare(Nest("func.func"), parse(TWICE).context, registry)


def test_told_diagnostics_have_a_place(parse, registry):
    result = run_pipeline(parse(TWICE), "test-tell", registry=registry)
    told = [(each.severity, each.message, each.location.line) for each in result.diagnostics]
    assert told == [(Severity.WARNING, "a warning", 2), (Severity.REMARK, "a remark", 2)]


def test_failure_keeps_what_was_told_before(parse, registry):
    watch = Instrumentation()
    with pytest.raises(PassFailed, match="do less") as caught:
        run_pipeline(parse(TWICE), "test-mark,test-tell{stop=true},cse", registry=registry, instrument=watch)
    assert [each.message for each in caught.value.diagnostics] == ["an error"]
    assert [each.message for each in watch.diagnostics.items] == ["a warning", "a remark"]
    assert [name for name, _ in watch.timings] == ["test-mark", "test-tell"]


def test_error_without_a_place_points_at_the_module(parse, registry):
    with pytest.raises(PassFailed) as caught:
        run_pipeline(parse(TWICE), "test-demand", registry=registry)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.message, diagnostic.hint) == ("mesh '2': too small", "use more")


def test_failure_of_a_cpp_pass(parse):
    with pytest.raises(PassFailed) as caught:
        run_pipeline(parse(TWICE), "func.func(inline)")
    (diagnostic,) = caught.value.diagnostics
    assert "does not define a symbol table" in diagnostic.message
    assert (diagnostic.location.line, diagnostic.location.column) == (2, 1)


def test_module_is_verified_after_a_python_pass(parse, registry):
    with pytest.raises(PassFailed, match="the module is invalid after pass 'test-break'"):
        run_pipeline(parse(TWICE), "test-break", registry=registry)
    run_pipeline(parse(TWICE), "test-break", registry=registry, instrument=Instrumentation(verify_each=False))


def printed(parse, registry, pipeline: str, **printing) -> list[str]:
    stream = io.StringIO()
    watch = Instrumentation(IrPrinting(**printing), stream=stream)
    with contextlib.suppress(PassFailed):
        run_pipeline(parse(TWICE), pipeline, registry=registry, instrument=watch)
    heads = [line for line in stream.getvalue().splitlines() if "IR Dump" in line]
    return [head.removeprefix("// -----// IR Dump ").removesuffix(" //----- //") for head in heads]


@pytest.mark.parametrize(
    ("printing", "heads"),
    [
        ({}, []),
        ({"before_all": True}, ["Before cse", "Before cse", "Before test-tell"]),
        ({"before": frozenset({"test-tell"})}, ["Before test-tell"]),
        ({"after": frozenset({"cse"})}, ["After cse", "After cse"]),
        ({"after": frozenset({"cse"}), "after_change": True}, ["After cse"]),
        ({"after_change": True}, ["After cse", "After test-tell Failed"]),
        ({"after_all": True}, ["After cse", "After cse", "After test-tell Failed"]),
        ({"after_failure": True}, ["After test-tell Failed"]),
    ],
)
def test_printing(parse, registry, printing, heads):
    assert printed(parse, registry, "cse,cse,test-tell{stop=true}", **printing) == heads


def test_prints_into_a_folder(parse, registry, tmp_path):
    folder = tmp_path / "ir"
    assert printed(parse, registry, "cse,test-mark", after_all=True, tree_dir=folder) == []
    assert sorted(path.name for path in folder.iterdir()) == ["0_after_cse.mlir", "1_after_test-mark.mlir"]
    assert 'test.mark = "seen"' in (folder / "1_after_test-mark.mlir").read_text(encoding="utf-8")
