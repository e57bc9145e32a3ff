"""The whole way through: from a configuration to the program of each device, phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch_mlir import ir

from jogak.autoshard.driver import SearchReport, search_program
from jogak.autoshard.meshes import REFINED_FROM, meshes
from jogak.autoshard.plan import SearchOptions, memory_limit
from jogak.autoshard.realize import realize
from jogak.autoshard.solving import State
from jogak.collector import paused_collector
from jogak.configuration import PHASES, Configuration
from jogak.cost.machine_file import load_machine
from jogak.cost.model import CostModel, cost_model
from jogak.errors import JogakError, unknown_name
from jogak.ir.diagnostics import Diagnostic, DoesNotFit, PassFailed, Severity, SourceLocation, collect
from jogak.ir.grid import declare_mesh, find_mesh, require_mesh
from jogak.ir.module import main_function
from jogak.ir.options import format_value
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE, fit_pipeline, micro_batch_pipeline, partition_pipeline
from jogak.memory.budget import parse_budget
from jogak.microbatch.choose import Tried
from jogak.microbatch.driver import Finished, Phases, refuse_with_hint, search_micro_batches
from jogak.registry import Registry, registry_of
from jogak.report.coverage import Coverage, coverage
from jogak.report.memory import recomputed
from jogak.report.promise import Promise, memory_warning, promise
from jogak.sharding.annotation import SHARDING, read_arguments, write_constraints
from jogak.sharding.constraints import Constraint, axes_of, resolve
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import read_graph
from jogak.sharding.refinement import suggested

if TYPE_CHECKING:
    from torch import Tensor

    from jogak.ingress.model import Model

SEARCHED_AXES = 2
"""How many axes a mesh may have that a search takes apart by itself; three take it many times as long."""
Progress = Callable[[str], None]
Watch = Callable[[Mesh, float | None, State], None]
"""Told whenever a search gets further; see `jogak.autoshard.meshes`."""


@dataclass
class Compilation:
    """What a compilation made.

    Attributes:
        configuration: what was asked.
        mesh: the device mesh.
        cost: what the machine takes for collectives and kernels on the mesh.
        program: the whole program, annotated as far as the phases went.
        device: the program of one device; None when the compilation stopped before.
        weights: values of parameters and buffers by name; None when they can be made again from the seed.
        inputs: the user's own example inputs by name; None when they are drawn from the seed.
        reference: whether PyTorch can run the model that the configuration names.
        coverage: which ops a rule covers; None before the shard phase.
        promise: the prediction for one device; None before the partition phase.
        search: what the search found; None when it decided nothing.
        remat: what is computed again so that it fits; None when nothing is.
        whole: the program before it was cut into micro-batches or sharded, where their number is open or fixed.
        micro_batches: the numbers of micro-batches that were tried; empty when the number was given.
        finished: the phases behind `shard`, where they had to be run to choose between plans.
        seconds: wall time of each phase.
        diagnostics: warnings and remarks of the passes.
        watch: told whenever the search gets further.
    """

    configuration: Configuration
    mesh: Mesh
    cost: CostModel
    program: ir.Module
    device: ir.Module | None = None
    weights: Mapping[str, Tensor] | None = None
    inputs: Mapping[str, Tensor] | None = None
    reference: bool = False
    coverage: Coverage | None = None
    promise: Promise | None = None
    search: SearchReport | None = None
    remat: dict[str, Any] | None = None
    whole: ir.Module | None = None
    micro_batches: Sequence[Tried] = ()
    finished: Finished | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    watch: Watch | None = None


def compile_configuration(
    configuration: Configuration,
    *,
    stop_after: str = PHASES[-1],
    strict: bool = False,
    progress: Progress = lambda phase: None,
    watch: Watch | None = None,
) -> Compilation:
    """Compile what a configuration names.

    Args:
        stop_after: the last phase to run, one of `PHASES`.
        strict: what cannot be split as asked is an error, not a warning.
        progress: called with the name of each phase when it begins.
        watch: called whenever the search gets further.

    Raises:
        JogakError: the model, a constraint or an option is wrong.
    """
    from jogak.ingress.importer import import_program  # brings torch in

    return _compile(configuration, import_program, stop_after, strict, progress, watch)


def compile_model(configuration: Configuration, model: Model) -> Compilation:
    """Compile a model that is in memory instead of the one that the configuration names.

    Raises:
        JogakError: the model or a constraint is wrong.
    """
    from jogak.ingress.importer import import_model

    made = _compile(
        configuration, lambda _, options: import_model(model, options), PHASES[-1], False, lambda phase: None
    )
    made.reference = False  # nothing but this process can build the model again
    made.inputs = None if model.on_meta else _example_inputs(made, model)
    return made


def _example_inputs(made: Compilation, model: Model) -> dict[str, Tensor]:
    """The model's example inputs and a target for its loss, for `jogak run` on a plan that was saved."""
    from jogak.ingress.reference import values_of

    names = [each.name for each in read_arguments(main_function(made.program).operation) if each.role == "input"]
    values = values_of(model, made.configuration.options) | {
        name: value.detach() for name, value in model.inputs.items() if not value.is_meta
    }
    return {name: values[name] for name in names}


def _compile(
    configuration: Configuration,
    importer: Callable[..., Any],
    stop_after: str,
    strict: bool,
    progress: Progress,
    watch: Watch | None = None,
) -> Compilation:
    if stop_after not in PHASES:
        raise unknown_name("phase", stop_after, PHASES, where="--compile-to")
    mesh = Mesh.parse(configuration.mesh)
    if configuration.searched != "mesh":
        constraints = _constraints(configuration)
        mesh = mesh.cut_for(axes_of(constraints))
        for constraint in constraints:
            constraint.spec.on(mesh).check(mesh, constraint.where)
    registry = registry_of(configuration.plugins)
    registry.passes()  # a broken plug-in shows before the model is imported
    cost = cost_model(configuration.cost_model, load_machine(configuration.machine), mesh, registry)
    seconds: dict[str, float] = {}
    with _phase("import", seconds, progress), paused_collector(), collect() as told:
        imported = importer(configuration.model, configuration.options)
    made = Compilation(
        configuration,
        mesh,
        cost,
        imported.module,
        weights=imported.weights,
        reference=imported.reference,
        seconds=seconds,
        watch=watch,
        diagnostics=list(told.items),
    )
    steps: dict[str, Callable[[Compilation, Registry], None]] = {
        "normalize": _normalize,
        "shard": _shard,
        "partition": _partition,
        "fit": _fit,
    }
    for phase in PHASES[1 : PHASES.index(stop_after) + 1]:
        with _phase(phase, seconds, progress), paused_collector():
            steps[phase](made, registry)
            if strict:
                _require_no_fallback(made)
    return made


@contextmanager
def _phase(name: str, seconds: dict[str, float], progress: Progress) -> Iterator[None]:
    progress(name)
    start = perf_counter()
    yield
    seconds[name] = perf_counter() - start


def _constraints(configuration: Configuration) -> list[Constraint]:
    return [Constraint.parse(text, source) for text, source in configuration.constraints]


def _run(made: Compilation, module: ir.Module, pipeline: str, registry: Registry) -> None:
    result = run_pipeline(module, pipeline, registry=registry)
    made.diagnostics.extend(result.diagnostics)


def _require_no_fallback(made: Compilation) -> None:
    """Turn ops that would be replicated, and warnings, into errors.

    Raises:
        PassFailed: there are some; it tells all of them.
    """
    warnings = [each for each in made.diagnostics if each.severity is Severity.WARNING]
    problems = [replace(each, severity=Severity.ERROR) for each in warnings]
    hint = "bring a rule for the op in a plug-in, or compile without --strict"
    for entry in made.coverage.replicated if made.coverage else ():
        if entry.whole:
            place = SourceLocation(scope=entry.location)
            problems.append(Diagnostic(Severity.ERROR, f"replicated: {entry.describe()}", place, hint=hint))
    if problems:
        raise PassFailed(problems)


def _normalize(made: Compilation, registry: Registry) -> None:
    if _is_annotated(made.program):
        return
    _run(made, made.program, NORMALIZE, registry)
    if made.configuration.options.training:
        made.whole = made.program.operation.clone()
    if made.configuration.micro_batches is not None:
        _cut(made, made.configuration.micro_batches, registry)


def _cut(made: Compilation, count: int, registry: Registry) -> None:
    """Let the program take its batch in parts.

    Raises:
        JogakError: it cannot.
    """
    try:
        if count > 1:
            _run(made, made.program, micro_batch_pipeline(count), registry)
    except PassFailed as error:
        first = error.diagnostics[0]
        if first.location != SourceLocation():
            raise
        raise JogakError(first.message, where=f"--micro-batches {count}", hint=first.hint) from None
    made.configuration = replace(made.configuration, micro_batches=count)


def _phases(registry: Registry) -> Phases:
    return Phases(
        lambda made, count: _cut(made, count, registry),
        lambda made, below: _plan(made, registry, below),
        lambda made: _partition(made, registry),
        lambda made: _fit_to_budget(made, registry),
    )


def _shard(made: Compilation, registry: Registry) -> None:
    function = main_function(made.program).operation
    annotated = _is_annotated(made.program)
    declared = find_mesh(made.program)
    if annotated and declared is None:
        declare_mesh(made.program, made.mesh)
    elif annotated and declared is not None and declared.whole != made.mesh.whole:
        raise JogakError(
            f"the program is annotated for the mesh {declared}, not {made.mesh}",
            where=made.configuration.model,
            hint=f"give --mesh {declared}",
        )
    elif annotated and declared is not None:
        _set_mesh(made, declared, registry)
    made.coverage = coverage(read_graph(function, registry.rules()).graph)
    if annotated:
        _refuse(made.configuration)
        return
    if made.configuration.searched != "nothing" and made.configuration.memory.endswith("x"):
        _resolve_budget(made, registry)
    if made.configuration.searched != "nothing" and made.configuration.micro_batches is None:
        search_micro_batches(made, _phases(registry))
        return
    made.configuration = replace(made.configuration, micro_batches=made.configuration.micro_batches or 1)
    try:
        _plan(made, registry)
    except DoesNotFit as error:
        refuse_with_hint(error, made, made.whole, _phases(registry))


def _resolve_budget(made: Compilation, registry: Registry) -> None:
    """Make bytes of a budget that is a share: of the peak of the plan that the search takes without it.

    A search has to know the bytes, since other plans than that one may take less by themselves.
    """
    asked = made.configuration
    trial = replace(made, program=made.program.operation.clone(), configuration=replace(asked, memory="auto"))
    trial.diagnostics = []
    _plan(trial, registry)
    _partition(trial, registry)
    _fit_to_budget(trial, registry)
    assert trial.promise is not None, "the partition phase made it"
    peak = trial.promise.peak_memory_bytes
    budget = parse_budget(asked.memory, peak, "--memory")
    made.configuration = replace(asked, memory=str(budget))
    message = f"{asked.memory} are {budget} bytes a device: the plan without that budget takes {peak}"
    made.diagnostics.append(Diagnostic(Severity.REMARK, message, SourceLocation(scope=asked.model)))


def _plan(made: Compilation, registry: Registry, below: float | None = None) -> None:
    """Give every value a sharding: by search, or by propagating what is constrained.

    Args:
        below: seconds of a step that a search has to beat.
    """
    constraints = _constraints(made.configuration)
    if made.configuration.searched != "nothing":
        _search(made, constraints, registry, below)
        return
    declare_mesh(made.program, made.mesh)
    function = main_function(made.program).operation
    reading = read_graph(function, registry.rules())
    seeds = resolve(constraints, read_arguments(function), made.mesh, reading.graph)
    write_constraints(function, seeds, reading)
    _run(made, made.program, "builtin.module(jogak-propagate)", registry)
    _set_mesh(made, require_mesh(made.program), registry)


def _set_mesh(made: Compilation, mesh: Mesh, registry: Registry) -> None:
    """Use a mesh that was chosen, or taken apart into sub-axes, from here on."""
    made.mesh = mesh
    made.cost = cost_model(made.configuration.cost_model, made.cost.machine, mesh, registry)


def _search(
    made: Compilation, constraints: Sequence[Constraint], registry: Registry, below: float | None = None
) -> None:
    """Let the search decide the plan, and the mesh where it is open.

    Raises:
        JogakError: a constraint fits no mesh, no plan fits the memory, or none takes less than `below`.
    """
    configuration, machine = made.configuration, made.cost.machine
    open_mesh = configuration.searched == "mesh"
    candidates = list(meshes(made.mesh.devices))
    if not open_mesh:
        graph = read_graph(main_function(made.program).operation, registry.rules()).graph
        candidates = list(dict.fromkeys([made.mesh, suggested(graph, made.mesh, SEARCHED_AXES)]))
    limit = memory_limit(configuration.memory, machine.device.memory_bytes)
    options = SearchOptions(limit, configuration.search_seconds, target_gap=configuration.search_gap)
    refine = configuration.search_seconds if open_mesh and made.mesh.devices >= REFINED_FROM else 0.0

    def priced(mesh: Mesh) -> CostModel:
        return cost_model(configuration.cost_model, machine, mesh, registry)

    searched = search_program(
        made.program,
        candidates,
        priced,
        constraints,
        registry.rules(),
        options,
        made.watch,
        refine,
        lambda module: realize(module, priced, int(limit), _partition_pipeline(configuration), registry),
        below,
    )
    made.search = searched
    _set_mesh(made, searched.mesh, registry)
    made.configuration = replace(configuration, mesh=str(made.mesh))


def _refuse(configuration: Configuration) -> None:
    given = [source for _, source in configuration.constraints]
    given += ["--micro-batches"] if (configuration.micro_batches or 1) > 1 else []
    if given:
        raise JogakError(
            f"every value of the program has a sharding already, so {given[0]} would mean nothing",
            where=configuration.model,
            hint="edit the jogak.sharding attributes, or start from what --compile-to=normalize prints",
        )


def _is_annotated(module: ir.Module) -> bool:
    """Whether the program came in with shardings: a program that a person printed, edited and feeds back."""
    block = main_function(module).operation.regions[0].blocks[0]
    return any(SHARDING in view.attributes for view in block.operations)


def _partition(made: Compilation, registry: Registry) -> None:
    if made.finished is not None:
        made.device, made.promise = made.finished.partitioned
        _set_mesh(made, require_mesh(made.device), registry)
        return
    ready = made.search.partitioned if made.search is not None else None
    if ready is None:
        made.device = made.program.operation.clone()  # a ModuleOp, which serves wherever a Module does
        _run(made, made.device, _partition_pipeline(made.configuration), registry)
    else:
        made.device = ready.module
        made.diagnostics += ready.diagnostics
    _set_mesh(made, require_mesh(made.device), registry)  # with the sub-axes that values move by
    made.promise = promise(main_function(made.device).operation, made.mesh, made.cost)


def _partition_pipeline(asked: Configuration) -> str:
    priced = f"machine={format_value(asked.machine)} cost-model={format_value(asked.cost_model)}"
    return partition_pipeline(priced, asked.target)


def _fit(made: Compilation, registry: Registry) -> None:
    if made.finished is not None:
        made.device, made.promise = made.finished.fitted
        made.remat = made.finished.remat
        return
    try:
        _fit_to_budget(made, registry)
    except DoesNotFit as error:
        refuse_with_hint(error, made, made.whole, _phases(registry))


def _fit_to_budget(made: Compilation, registry: Registry) -> None:
    assert made.device is not None, "the partition phase made it"
    assert made.promise is not None, "the partition phase made it"
    before = made.promise.peak_memory_bytes
    asked = made.configuration
    options = {"memory": asked.memory, "machine": asked.machine, "cost-model": asked.cost_model}
    written = " ".join(f"{name}={format_value(value)}" for name, value in options.items())
    _run(made, made.device, fit_pipeline(written), registry)
    function = main_function(made.device).operation
    made.promise = promise(function, made.mesh, made.cost)
    made.remat = recomputed(function, made.mesh, made.cost, before)
    warning = memory_warning(made.promise, made.cost.machine, made.configuration.model)
    if warning is not None:
        made.diagnostics.append(warning)
