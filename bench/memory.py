"""Rematerialization and packing of real training programs: `python bench/memory.py TABLE [CASE ...]`, with the tables

programs: budgets at 75, 50, 35 and 25 % of the activation peak (what is alive beyond the arguments): time added by the
cost model, the bound for plans that keep the order of first computations, recomputed ops, CPU seconds.
packing: the arena against the most bytes alive at once, and seconds.
scale: the same budgets for 8, 16, 32 and 64 layers: what is added, how many layers share one plan, and CPU seconds.
run: small versions on the simulator: promised peak, measured peak, and whether every bit is that of the run in an arena
without rematerialization.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import torch
from torch_mlir import ir

from jogak.compiler import Compilation, compile_configuration
from jogak.configuration import Configuration
from jogak.errors import JogakError
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.context import new_context
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.memory.fit import Fit, fit
from jogak.memory.offsets import place
from jogak.memory.reading import read_tape
from jogak.memory.split import fit_split
from jogak.memory.tape import Tape
from jogak.partition.prices import Prices
from jogak.runtime.program import load_program
from jogak.runtime.simulator import simulate
from jogak.runtime.values import drawn_values

MEGATRON = [
    ("tokens=[data, _]", "bench"),
    ("blocks.*.attn.qkv.weight=[model, _]", "bench"),
    ("blocks.*.attn.proj.weight=[_, model]", "bench"),
    ("blocks.*.mlp.up.weight=[model, _]", "bench"),
    ("blocks.*.mlp.down.weight=[_, model]", "bench"),
]
TOKENS = [("tokens=[data, _]", "bench")]
IMAGES = [("images=[data, _, _, _]", "bench")]
LLAMA = "zoo:llama?layers=8&width=1024&heads=16&kv_heads=8&hidden=2816&batch=8&sequence=1024"
CASES: dict[str, tuple[str, str, list[tuple[str, str]], str]] = {
    "gpt2-124m": ("zoo:gpt2", "data=1", [], "adamw"),
    "gpt2-124m-4": ("zoo:gpt2", "data=2,model=2", MEGATRON, "adamw"),
    "llama-8": (LLAMA, "data=1", [], "adamw"),
    "llama-8-4": (LLAMA, "data=4", TOKENS, "adamw"),
    "resnet50": ("zoo:resnet", "data=1", [], "sgd"),
    "resnet50-4": ("zoo:resnet", "data=4", IMAGES, "sgd"),
    "unet": ("zoo:unet", "data=1", [], "adamw"),
    "unet-4": ("zoo:unet", "data=4", IMAGES, "adamw"),
}
SHARES = (0.75, 0.5, 0.35, 0.25)
_GPT2 = "zoo:gpt2?layers=3&heads=2&width=32&vocab=101&context=32&batch=8&sequence=32"
_LLAMA = "zoo:llama?layers=2&heads=4&kv_heads=2&width=32&hidden=64&vocab=101&batch=8&sequence=32"
SMALL: dict[str, tuple[str, str, list[tuple[str, str]], str]] = {
    "gpt2": (_GPT2, "data=1", [], "adamw"),
    "gpt2-4": (_GPT2, "data=2,model=2", MEGATRON, "adamw"),
    "llama": (_LLAMA, "data=1", [], "adamw"),
    "llama-4": (_LLAMA, "data=4", TOKENS, "adamw"),
    "resnet": ("zoo:resnet?width=8&image=32&classes=10&batch=8", "data=1", [], "sgd"),
    "unet": ("zoo:unet?levels=2&width=8&groups=2&image=16&batch=4", "data=1", [], "adamw"),
    "unet-4": ("zoo:unet?levels=2&width=8&groups=2&image=16&batch=4", "data=4", IMAGES, "adamw"),
}


def compiled(case: tuple[str, str, list[tuple[str, str]], str]) -> Compilation:
    """The per-device program of a case, before it is made to fit."""
    model, mesh, constraints, optimizer = case
    options = ImportOptions(Optimizer(optimizer))  # type: ignore[arg-type]
    return compile_configuration(Configuration(model, mesh, options, constraints), stop_after="partition")


def tape_of(made: Compilation) -> Tape:
    """The tape of a compiled program, priced by its cost model."""
    assert made.device is not None
    function = main_function(made.device).operation
    return read_tape(function, Prices(made.cost).seconds).tape


def budgets(tape: Tape) -> Iterator[tuple[float, int]]:
    """Each share of the activation peak as bytes of a device."""
    peak = place(tape).layout.peak
    for share in SHARES:
        yield share, int(tape.resident + share * (peak - tape.resident))


def programs(names: list[str]) -> None:
    """A row for each case and budget."""
    print("case | steps | share | budget GiB | arena GiB | added % | bound % | repeated | split | alike | CPU s | fits")
    for name in names or CASES:
        made = compiled(CASES[name])
        tape = tape_of(made)
        total = tape.seconds
        for share, budget in budgets(tape):
            start = time.process_time()
            now, found = fitted(made, budget)
            seconds = time.process_time() - start
            cells = [name, len(tape.steps), share, f"{budget / 2**30:.2f}", f"{found.placement.arena / 2**30:.2f}"]
            added = sum(now.steps[step].seconds for step in found.sequence) - total
            cells += [f"{100 * added / total:.2f}", f"{100 * found.bound_seconds / total:.2f}"]
            cells += [len(found.sequence) - len(now.steps), len(now.steps) - len(tape.steps), found.layers]
            told = "yes" if found.fits else f"no; impossible below {found.minimum_bound / 2**30:.2f}"
            print(" | ".join(map(str, [*cells, f"{seconds:.1f}", told])), flush=True)


def fitted(made: Compilation, budget: int) -> tuple[Tape, Fit]:
    """A copy of a program, made to fit: the tape, ops split where it takes that, and the plan."""
    assert made.device is not None
    copy = made.device.operation.clone()
    function = main_function(copy).operation
    reading = read_tape(function, Prices(made.cost).seconds)
    reading, found = fit_split(function, reading, lambda tape, seconds: fit(tape, budget, time_limit=seconds), 20)
    return reading.tape, found


def packing(names: list[str]) -> None:
    """A row for each case: the arena over what is alive at once."""
    print("case | buffers | alive at once | arena | ratio | seconds")
    for name in names or CASES:
        tape = tape_of(compiled(CASES[name]))
        start = time.monotonic()
        found = place(tape, time_limit=5.0)
        seconds = time.monotonic() - start
        ratio = found.arena / found.layout.peak
        buffers, peak = len(found.layout.buffers), found.layout.peak
        print(f"{name} | {buffers} | {peak} | {found.arena} | {ratio:.6f} | {seconds:.2f}", flush=True)


def scale(names: list[str]) -> None:
    """How the search grows with layers, at three budgets; the last column is the CPU time over that of 8 layers."""
    print("layers | steps | share | added % | bound % | repeated a layer | layers alike | CPU s | of 8 layers")
    first: dict[float, float] = {}
    for layers in map(int, names or ("8", "16", "32", "64")):
        model = f"zoo:gpt2?layers={layers}&width=256&heads=8&vocab=512&context=256&sequence=256&batch=8"
        tape = tape_of(compiled((model, "data=1", [], "adamw")))
        total = tape.seconds
        for share, budget in list(budgets(tape))[:3]:
            start = time.process_time()
            found = fit(tape, budget, time_limit=60)
            seconds = time.process_time() - start
            cells = [layers, len(tape.steps), share, f"{100 * found.added_seconds / total:.2f}"]
            cells += [f"{100 * found.bound_seconds / total:.2f}"]
            cells += [f"{(len(found.sequence) - len(tape.steps)) / layers:.2f}", found.layers, f"{seconds:.2f}"]
            ratio = seconds / first.setdefault(share, seconds)
            print(" | ".join(map(str, [*cells, f"{ratio:.2f}"])), flush=True)


def run(names: list[str]) -> None:
    """A row for each small case and budget: promised and measured bytes, and whether results are the same bits."""
    print("case | share | recomputed | promised bytes | measured bytes | same bits")
    for name in names or SMALL:
        made = compiled(SMALL[name])
        assert made.device is not None
        text = made.device.operation.get_asm(enable_debug_info=True)
        plain = _simulated(made, text, "jogak-plan-memory")[1]
        for share, budget in budgets(tape_of(made)):
            try:
                module, result = _simulated(made, text, f"jogak-rematerialize{{memory={budget}}},jogak-plan-memory")
            except JogakError as error:
                print(f"{name} | {share} | - | - | - | {str(error).split('error: ')[-1].splitlines()[0]}")
                continue
            promised = int(main_function(module).attributes["jogak.arena"].value)
            same = all(
                torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
                for one, other in zip(plain.outputs, result.outputs, strict=True)
                for a, b in zip(one, other, strict=True)
            )
            measured = {use.extent for use in result.memory}
            again = str(module).count("jogak.recompute_of")
            print(f"{name} | {share} | {again} | {promised} | {', '.join(map(str, measured))} | {same}", flush=True)


def _simulated(made: Compilation, text: str, pipeline: str):  # type: ignore[no-untyped-def]
    module = ir.Module.parse(text, new_context())
    if pipeline:
        run_pipeline(module, f"builtin.module({pipeline})")
    program = load_program(module)
    interface = [
        {"name": a.name, "shape": a.type.shape, "element": a.type.element, "role": a.role} for a in program.arguments
    ]
    return module, simulate(program, made.mesh, [drawn_values(interface, n) for n in range(made.mesh.devices)])


def main() -> None:
    tables = {"programs": programs, "packing": packing, "scale": scale, "run": run}
    table, *names = sys.argv[1:] or ["programs"]
    tables[table](names)


if __name__ == "__main__":
    main()
