"""What `jogak compile` says when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jogak.text import duration, size

if TYPE_CHECKING:
    from jogak.autoshard.solving import State
    from jogak.compiler import Compilation
    from jogak.report.coverage import Coverage
    from jogak.sharding.mesh import Mesh

_LISTED = 8
"""Kinds of ops without a full rule that are printed."""


def search_state(mesh: Mesh, others: float | None, state: State) -> str:
    """Where a search is, in a line.

    Args:
        others: seconds of the best plan on the meshes before this one.
    """
    told = ["none yet" if each is None else duration(each) for each in (state.objective, state.lower_bound)]
    gap = ""
    if state.objective and state.lower_bound is not None:
        gap = f", gap {max(state.objective - state.lower_bound, 0.0) / state.objective:.2%}"
    before = "" if others is None else f"; other meshes {duration(others)}"
    return f"search {mesh}: best {told[0]}, bound {told[1]}{gap}, {state.seconds:.1f} s{before} (Ctrl-C takes the best)"


def summary(made: Compilation, folder: Path | None = None) -> str:
    """The plan in a few lines: collectives by kind and axis, memory, arithmetic, coverage, times."""
    written = f" -> {folder}" if folder else ""
    lines = [f"{made.configuration.model} for {made.mesh.devices} devices ({made.mesh}){written}"]
    promise, covered = made.promise, made.coverage
    if made.search is not None:
        lines += made.search.describe()
    if (made.configuration.micro_batches or 1) > 1:
        lines.append(f"  micro-batches   {made.configuration.micro_batches}, one after the other, and one update")
    if promise is not None:
        from jogak.ir.module import main_function  # what shows only sizes needs no MLIR
        from jogak.report.memory import checkpointed

        for kind, entry in promise.collectives.items():
            for axes, along in entry["by_axis"].items():
                lines.append(f"  {kind:15} on {axes:12} {along['count']:5} times, {size(along['bytes'])} per device")
        if not promise.collectives:
            lines.append("  no collectives")
        lines.append(
            f"  step time       {duration(promise.step_time_s)}: {duration(promise.compute_time_s)} computing, "
            f"{duration(promise.communication_time_s)} communicating{_hidden(promise.hidden_time_s)}"
        )
        lines.append(f"  peak memory     {size(promise.peak_memory_bytes)} per device")
        repeated = checkpointed(main_function(made.device).operation) if made.device is not None else 0
        if repeated:
            lines.append(f"  checkpointed    {repeated} ops begin second runs, as the model's code asks")
        if made.remat is not None:
            lines.append(
                f"  recomputed      {made.remat['recomputed_ops']} ops, {1e3 * made.remat['added_time_s']:.3g} ms "
                f"({made.remat['added_time_s'] / promise.step_time_s:.1%} of the step), instead of "
                f"{size(made.remat['peak_without_bytes'])} per device"
            )
        lines.append(f"  arithmetic      {promise.flops:.3g} operations per device")
    if covered is not None:
        lines += _coverage(covered)
    lines.append("  seconds         " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in made.seconds.items()))
    return "\n".join(lines)


def _hidden(seconds: float) -> str:
    return f", {duration(seconds)} of it beside the computation" if seconds > 1e-9 else ""


def _coverage(covered: Coverage) -> Iterator[str]:
    """How many ops a rule covers, and the others, those with the most arithmetic first."""
    share = covered.fallback_flops / covered.flops if covered.flops else 0.0
    yield (
        f"  coverage        {covered.by_rule} of {covered.nodes} ops split by rule, {covered.partly} with a dimension "
        f"that stays whole, {covered.unknown} replicated ({share:.2%} of the arithmetic)"
    )
    ranked = sorted(covered.replicated, key=lambda entry: (not entry.whole, -entry.share))
    yield from (f"    {'replicated' if entry.whole else 'partly'}: {entry.describe()}" for entry in ranked[:_LISTED])
    if len(ranked) > _LISTED:
        yield f"    and {len(ranked) - _LISTED} more kinds in manifest.json, under coverage"
