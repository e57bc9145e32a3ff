"""Micro-batches in a compilation: how many where that is open, and what to say where a program does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from torch_mlir import ir

from jogak.autoshard.plan import memory_limit
from jogak.errors import JogakError
from jogak.ir.diagnostics import Diagnostic, PassFailed, Severity, SourceLocation
from jogak.ir.module import main_function
from jogak.microbatch.choose import Trial, Tried, choose
from jogak.microbatch.split import possible_counts

if TYPE_CHECKING:
    from jogak.compiler import Compilation
    from jogak.report.promise import Promise


@dataclass(frozen=True)
class Finished:
    """The programs of a plan that was followed to its end.

    Attributes:
        partitioned, fitted: programs of one device, before and after they were made to fit, with their promises.
        remat: what is computed again.
    """

    partitioned: tuple[ir.Module, Promise]
    fitted: tuple[ir.Module, Promise]
    remat: dict[str, Any] | None


@dataclass(frozen=True)
class Phases:
    """What a compilation does, as far as micro-batches need it.

    Attributes:
        cut: makes micro-batches of the program.
        shard: gives every value a sharding.
        partition: makes the program of a device.
        fit: makes that fit its memory.
    """

    cut: Callable[[Compilation, int], None]
    shard: Callable[[Compilation], None]
    partition: Callable[[Compilation], None]
    fit: Callable[[Compilation], None]


def search_micro_batches(made: Compilation, phases: Phases) -> None:
    """Search a plan, in as many micro-batches as the memory asks for.

    Raises:
        JogakError: a constraint fits no mesh, or no plan fits the memory.
    """
    whole = made.program
    counts = possible_counts(main_function(whole).operation)

    def plan(count: int) -> Trial[Compilation]:
        trial = _cut(made, whole, count, phases)
        phases.shard(trial)
        assert trial.search is not None, "the search reports"
        return Trial(count, trial.search.found[0].outcome.objective, trial.search.recomputed == 1, trial)

    try:
        choice = choose(counts, plan, lambda trial: _finish(trial.state, phases))
    except PassFailed as error:
        if len(counts) == 1:
            raise
        also = f"; nor is there one in {', '.join(map(str, counts[1:]))} micro-batches"
        raise PassFailed([replace(each, message=each.message + also) for each in error.diagnostics]) from error
    chosen = choice.trial.state
    made.program, made.search, made.mesh, made.cost = chosen.program, chosen.search, chosen.mesh, chosen.cost
    made.configuration, made.finished, made.micro_batches = chosen.configuration, chosen.finished, choice.tried
    made.diagnostics += chosen.diagnostics
    if choice.trial.count > 1:
        made.diagnostics.append(_told(choice.trial.count, choice.tried, made.configuration.model))


def _cut(made: Compilation, whole: ir.Module, count: int, phases: Phases) -> Compilation:
    """A compilation of its own, of the program in micro-batches.

    Raises:
        PassFailed: they would not save memory, since each waits for the others.
    """
    trial = replace(made, program=whole.operation.clone(), diagnostics=[])
    phases.cut(trial, count)
    if count > 1 and trial.diagnostics:
        raise PassFailed(trial.diagnostics)
    return trial


def _finish(made: Compilation, phases: Phases) -> float:
    """Run the phases behind `shard`; returns the seconds of a step.

    Raises:
        JogakError: the program does not fit after all.
    """
    phases.partition(made)
    assert made.device is not None, "the partition phase made it"
    assert made.promise is not None, "the partition phase made it"
    partitioned = (made.device.operation.clone(), made.promise)
    phases.fit(made)
    taken, limit = made.promise.peak_memory_bytes, _limit(made)
    if taken > limit:
        raise JogakError(f"the program takes {taken} bytes a device, not {limit:.0f}")
    made.finished = Finished(partitioned, (made.device, made.promise), made.remat)
    return made.promise.step_time_s


def _limit(made: Compilation) -> float:
    return memory_limit(made.configuration.memory, made.cost.machine.device.memory_bytes)


def _told(count: int, tried: Sequence[Tried], model: str) -> Diagnostic:
    """The remark that the batch is cut, and why."""
    others = [
        f"{each.count}: {'does not fit' if each.refused else 'takes longer'}" for each in tried if each.count != count
    ]
    message = f"the memory asks for {count} micro-batches ({', '.join(others)})"
    return Diagnostic(Severity.REMARK, message, SourceLocation(scope=model))


def refuse_with_hint(error: PassFailed, made: Compilation, whole: ir.Module | None, phases: Phases) -> NoReturn:
    """Tell with an error of a program that does not fit how many micro-batches would.

    Args:
        whole: the program before it was cut or sharded; None where it cannot be cut.

    Raises:
        PassFailed: always.
    """
    count = None if whole is None else _first_that_fits(made, whole, phases)
    if count is None:
        raise error
    hint = f"--micro-batches {count} would fit"
    raise PassFailed(
        [replace(each, hint=f"{hint}; or {each.hint}" if each.hint else hint) for each in error.diagnostics]
    ) from error


def _first_that_fits(made: Compilation, whole: ir.Module, phases: Phases) -> int | None:
    """The least number of micro-batches, above the present one, with which the program fits."""
    present = made.configuration.micro_batches or 1
    for count in possible_counts(main_function(whole).operation):
        if count <= present:
            continue
        try:
            trial = _cut(made, whole, count, phases)
            trial.finished = None
            phases.shard(trial)
            _finish(trial, phases)
        except JogakError:
            continue
        return count
    return None
