"""Micro-batches in a compilation: how many where that is open, and what to say where a program does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from torch_mlir import ir

from jogak.autoshard.driver import NotFaster
from jogak.autoshard.plan import memory_limit
from jogak.errors import JogakError
from jogak.ir.diagnostics import Diagnostic, DoesNotFit, PassFailed, Severity, SourceLocation, fail
from jogak.ir.module import main_function
from jogak.microbatch.choose import NothingFits, Trial, Tried, choose
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
        shard: gives every value a sharding; where a plan has to take less than some seconds, and none can, it raises
            `NotFaster`.
        partition: makes the program of a device.
        fit: makes that fit its memory.
    """

    cut: Callable[[Compilation, int], None]
    shard: Callable[[Compilation, float | None], None]
    partition: Callable[[Compilation], None]
    fit: Callable[[Compilation], None]


def search_micro_batches(made: Compilation, phases: Phases) -> None:
    """Search a plan, in as many micro-batches as the memory asks for.

    Raises:
        JogakError: a constraint fits no mesh.
        DoesNotFit: no plan fits the memory.
    """
    whole = made.program
    counts = possible_counts(main_function(whole).operation)

    def plan(count: int, below: float | None) -> Trial[Compilation] | None:
        trial = _cut(made, whole, count, phases)
        try:
            phases.shard(trial, below)
        except NotFaster:
            return None
        assert trial.search is not None, "the search reports"
        return Trial(count, trial.search.found[0].outcome.objective, trial.search.recomputed == 1, trial)

    try:
        choice = choose(counts, plan, lambda trial: _finish(trial.state, phases), DoesNotFit)
    except NothingFits as found:
        raise _nothing_fits(found.tried) from None
    chosen = choice.trial.state
    made.program, made.search, made.mesh, made.cost = chosen.program, chosen.search, chosen.mesh, chosen.cost
    made.configuration, made.finished, made.micro_batches = chosen.configuration, chosen.finished, choice.tried
    made.diagnostics += chosen.diagnostics
    if choice.trial.count > 1:
        made.diagnostics.append(_told(choice.trial.count, choice.tried, made.configuration.model))


def _nothing_fits(tried: Sequence[Tried]) -> PassFailed:
    """The error of the first number, which tells of the others, and why they have no plan where that is not memory."""
    first = tried[0].refused
    assert isinstance(first, DoesNotFit), "other errors are final"
    if len(tried) == 1:
        return first
    others = ", ".join(f"{each.count}{_reason(each)}" for each in tried[1:])
    also = f"; nor is there one in {others} micro-batches"
    return DoesNotFit([replace(each, message=each.message + also) for each in first.diagnostics])


def _reason(entry: Tried) -> str:
    """Why there is no plan, where it is not for want of memory; empty otherwise."""
    error = entry.refused
    if error is None or isinstance(error, DoesNotFit):
        return ""
    return f" ({error.diagnostics[0].message if isinstance(error, PassFailed) else error.message})"


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
        DoesNotFit: the program does not fit after all.
    """
    phases.partition(made)
    assert made.device is not None, "the partition phase made it"
    assert made.promise is not None, "the partition phase made it"
    partitioned = (made.device.operation.clone(), made.promise)
    phases.fit(made)
    taken, limit = made.promise.peak_memory_bytes, _limit(made)
    if taken > limit:
        fail(
            main_function(made.device).operation, f"it takes {taken} bytes a device, not {limit:.0f}", error=DoesNotFit
        )
    made.finished = Finished(partitioned, (made.device, made.promise), made.remat)
    return made.promise.step_time_s


def _limit(made: Compilation) -> float:
    return memory_limit(made.configuration.memory, made.cost.machine.device.memory_bytes)


def _told(count: int, tried: Sequence[Tried], model: str) -> Diagnostic:
    """The remark that the batch is cut, and why."""
    others = [
        f"{each.count}: {'takes longer' if each.refused is None else _reason(each).strip(' ()') or 'does not fit'}"
        for each in tried
        if each.count != count
    ]
    message = f"the memory asks for {count} micro-batches ({', '.join(others)})"
    return Diagnostic(Severity.REMARK, message, SourceLocation(scope=model))


def refuse_with_hint(error: DoesNotFit, made: Compilation, whole: ir.Module | None, phases: Phases) -> NoReturn:
    """Tell with an error of a program that does not fit how many micro-batches would.

    Args:
        whole: the program before it was cut or sharded; None where it cannot be cut.

    Raises:
        DoesNotFit: always.
    """
    count = None if whole is None else _first_that_fits(made, whole, phases)
    if count is None:
        raise error
    hint = f"--micro-batches {count} would fit"
    raise DoesNotFit(
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
            phases.shard(trial, None)
            _finish(trial, phases)
        except JogakError:
            continue
        return count
    return None
