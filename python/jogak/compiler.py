"""The whole way through: from a configuration to the program of each device, phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch_mlir import ir

from jogak.configuration import PHASES, Configuration
from jogak.cost.links import Links
from jogak.errors import JogakError, unknown_name
from jogak.ir.diagnostics import Diagnostic
from jogak.ir.grid import declare_mesh, find_mesh
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.registry import Registry, default_registry
from jogak.report.coverage import Coverage, coverage
from jogak.report.promise import Promise, promise
from jogak.sharding.annotation import SHARDING, read_arguments, write_constraints
from jogak.sharding.constraints import Constraint, resolve
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import read_graph

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[str], None]


@dataclass
class Compilation:
    """What a compilation made.

    Attributes:
        configuration: what was asked.
        mesh: the device mesh.
        program: the whole program, annotated as far as the phases went.
        device: the program of one device; None when the compilation stopped before.
        weights: values of parameters and buffers by name; None when they can be made again from the seed.
        coverage: which ops a rule covers; None before the shard phase.
        promise: the prediction for one device; None before the partition phase.
        seconds: wall time of each phase.
        diagnostics: warnings and remarks of the passes.
    """

    configuration: Configuration
    mesh: Mesh
    program: ir.Module
    device: ir.Module | None = None
    weights: Mapping[str, Tensor] | None = None
    coverage: Coverage | None = None
    promise: Promise | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)


def compile_configuration(
    configuration: Configuration, *, stop_after: str = PHASES[-1], progress: Progress = lambda phase: None
) -> Compilation:
    """Compile what a configuration names.

    Args:
        stop_after: the last phase to run, one of `PHASES`.
        progress: called with the name of each phase when it begins.

    Raises:
        JogakError: the model, a constraint or an option is wrong.
    """
    from jogak.ingress.importer import import_program  # brings torch in

    mesh = Mesh.parse(configuration.mesh)
    return _compile(configuration, mesh, import_program, stop_after, progress)


def compile_model(configuration: Configuration, model: Any, *, progress: Progress = lambda phase: None) -> Compilation:
    """Compile a model that is in memory (a `jogak.ingress.model.Model`) instead of the one that the configuration names."""
    from jogak.ingress.importer import import_model

    mesh = Mesh.parse(configuration.mesh)
    return _compile(configuration, mesh, lambda _, options: import_model(model, options), PHASES[-1], progress)


def _compile(
    configuration: Configuration, mesh: Mesh, importer: Callable[..., Any], stop_after: str, progress: Progress
) -> Compilation:
    if stop_after not in PHASES:
        raise unknown_name("phase", stop_after, PHASES, where="--compile-to")
    seconds: dict[str, float] = {}
    with _phase("import", seconds, progress):
        registry = _registry(configuration)
        imported = importer(configuration.model, configuration.options)
    made = Compilation(configuration, mesh, imported.module, weights=imported.weights, seconds=seconds)
    steps: dict[str, Callable[[Compilation, Registry], None]] = {
        "normalize": _normalize,
        "shard": _shard,
        "partition": _partition,
    }
    for phase in PHASES[1 : PHASES.index(stop_after) + 1]:
        with _phase(phase, seconds, progress):
            steps[phase](made, registry)
    return made


@contextmanager
def _phase(name: str, seconds: dict[str, float], progress: Progress) -> Iterator[None]:
    progress(name)
    start = perf_counter()
    yield
    seconds[name] = perf_counter() - start


def _registry(configuration: Configuration) -> Registry:
    registry = default_registry()
    if not configuration.plugins:
        return registry
    extended = Registry(dict(registry.plugins), dict(registry.origins))
    for source in configuration.plugins:
        extended.load(source)
    return extended


def _run(made: Compilation, module: ir.Module, pipeline: str, registry: Registry) -> None:
    result = run_pipeline(module, pipeline, registry=registry)
    made.diagnostics.extend(result.diagnostics)


def _normalize(made: Compilation, registry: Registry) -> None:
    if not _is_annotated(made.program):
        _run(made, made.program, NORMALIZE, registry)


def _shard(made: Compilation, registry: Registry) -> None:
    function = main_function(made.program).operation
    declared = find_mesh(made.program)
    if declared is None or not _is_annotated(made.program):
        declare_mesh(made.program, made.mesh)
    elif declared != made.mesh:
        raise JogakError(
            f"the program is annotated for the mesh {declared}, not {made.mesh}",
            where=made.configuration.model,
            hint=f"give --mesh {declared}",
        )
    made.coverage = coverage(read_graph(function, registry.rules()).graph)
    if _is_annotated(made.program):
        return
    constraints = [Constraint.parse(text, source) for text, source in made.configuration.constraints]
    write_constraints(function, resolve(constraints, read_arguments(function), made.mesh))
    _run(made, made.program, "builtin.module(jogak-propagate)", registry)


def _is_annotated(module: ir.Module) -> bool:
    """Whether the program came in with shardings: a program that a person printed, edited and feeds back."""
    block = main_function(module).operation.regions[0].blocks[0]
    return any(SHARDING in view.attributes for view in block.operations)


def _partition(made: Compilation, registry: Registry) -> None:
    made.device = made.program.operation.clone()  # a ModuleOp, which serves wherever a Module does
    _run(made, made.device, "builtin.module(jogak-partition,canonicalize,cse)", registry)
    made.promise = promise(main_function(made.device).operation, made.mesh, Links())
