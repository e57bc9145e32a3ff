"""Collective counts of small training steps with shardings that the user gave, against numbers that are known.

The checks are those of the published Alpa tests; `gradient all-reduces combined` counts a bucket as one collective.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch_mlir import ir

from jogak.autoshard.annotate import read_search
from jogak.ir.grid import declare_mesh
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.sharding.annotation import read_arguments, write_constraints
from jogak.sharding.constraints import Constraint, resolve
from jogak.sharding.mesh import Mesh
from jogak.testing.closed_forms import all_reduce
from jogak.testing.equality import Prepared, Verdict, prepare, run_sharded

_MODELS = "jogak.testing.count_models"


@dataclass(frozen=True)
class Check:
    """One program with a sharding, and its number.

    Attributes:
        name: of the check.
        what: what the program is.
        model: the function of `count_models` that builds it.
        mesh: the mesh.
        constraints: what the user gives.
        known: collectives by kind, as published.
        ours: collectives by kind that we expect; where they differ, `why` says why.
        why: the reason of a difference.
    """

    name: str
    what: str
    model: str
    mesh: str
    constraints: tuple[str, ...]
    known: Mapping[str, int]
    ours: Mapping[str, int] = field(default_factory=dict)
    why: str = ""

    @property
    def expected(self) -> Mapping[str, int]:
        """What the program must have."""
        return self.ours or self.known


def _turns(pattern: str, layers: int, column: str, row: str) -> tuple[str, ...]:
    """Column-parallel and row-parallel in turn."""
    return tuple(f"{pattern.format(number)}={row if number % 2 else column}" for number in range(layers))


_MEGATRON = (
    *(f"layers.*.{name}.weight=[model, _]" for name in ("query", "key", "value", "up")),
    *(f"layers.*.{name}.weight=[_, model]" for name in ("proj", "down")),
)
_MLP = _turns("layers.{}.weight", 6, "[model, _]", "[_, model]")
_MLP_BATCH = ("x=[data, _]", "target=[data, _]")
_CONV_BATCH = ("x=[data, _, _, _]", "target=[data, _]")

CHECKS = (
    Check(
        "C1/C2", "transformer, 2 layers, tensor parallel: 4L-1", "transformer", "model=4", _MEGATRON, {"all_reduce": 7}
    ),
    Check(
        "C3",
        "the same, data × tensor parallel: 4L",
        "transformer",
        "data=2,model=2",
        ("x=[data, _, _]", "target=[data, _, _]", *_MEGATRON),
        {"all_reduce": 8},
    ),
    Check("C5", "MLP, 6 layers, model parallel: L-1", "mlp", "model=4", _MLP, {"all_reduce": 5}),
    Check("C6 DP", "MLP, 2 layers, data parallel", "wide_batch_mlp", "data=4", _MLP_BATCH, {"all_reduce": 1}),
    Check(
        "C6 ZeRO-2",
        "the same, optimizer state sharded",
        "wide_batch_mlp",
        "data=4",
        (*_MLP_BATCH, "layers.*.weight=[_, _]", "exp_avg*=[data, _]"),
        {"reduce_scatter": 1, "all_gather": 1},
    ),
    Check(
        "C6 ZeRO-3",
        "the same, parameters sharded, too",
        "wide_batch_mlp",
        "data=4",
        (*_MLP_BATCH, "layers.*.weight=[data, _]", "exp_avg*=[data, _]"),
        {"reduce_scatter": 1, "all_gather": 2},
        {"reduce_scatter": 1, "all_gather": 1},
        "both weights are small, and are gathered at once",
    ),
    Check(
        "C7",
        "MLP, 6 layers, data × model parallel: L",
        "mlp",
        "data=2,model=2",
        (*_MLP_BATCH, *_MLP),
        {"all_reduce": 6},
    ),
    Check(
        "C9", "conv net, 3 layers, data parallel: 1 + 2 per BN", "conv_net", "data=4", _CONV_BATCH, {"all_reduce": 7}
    ),
    Check(
        "C10",
        "conv net, 4 layers, channels sharded: L-1",
        "wide_conv_net",
        "model=4",
        _turns("convs.{}.weight", 4, "[model, _, _, _]", "[_, model, _, _]"),
        {"all_reduce": 3},
    ),
    Check(
        "C10 dw",
        "depthwise block, channels sharded",
        "depthwise",
        "model=4",
        (
            "expand.weight=[model, _, _, _]",
            "depthwise.weight=[model, _, _, _]",
            "project.weight=[_, model, _, _]",
        ),
        {"all_reduce": 1},
    ),
)


@dataclass(frozen=True)
class Found:
    """A program whose shardings the search finds, under the cost assumptions of a published plan.

    Attributes:
        name, what, model, mesh: as in a `Check`.
        machine: the file in `bench/machines` with those assumptions.
        known: collectives of the published plan by kind.
        cost: what it communicates, in the units of those assumptions.
        constraints: what its authors fix.
        memory: bytes of a device; -1 for no limit.
        ours: collectives by kind of the plan that is found, where that is a cheaper one.
    """

    name: str
    what: str
    model: str
    mesh: str
    machine: str
    known: Mapping[str, int]
    cost: float
    constraints: tuple[str, ...] = ()
    memory: int = -1
    ours: Mapping[str, int] = field(default_factory=dict)

    @property
    def expected(self) -> Mapping[str, int]:
        """What the plan has that is found."""
        return self.ours or self.known


def _linear(inputs: int, outputs: int, devices: int, split: int = 1, latency: float = 1.0) -> float:
    """Combining the gradients of a linear layer's weight and bias, each split so many ways."""
    return sum(all_reduce(4 * size / split, devices, latency) for size in (inputs * outputs, outputs))


def _gather(bytes_: float, devices: int = 4) -> float:
    """Alpa's price of an all-gather on links of speed 1."""
    return 1 + (devices - 1) / devices * bytes_ + 0.1


def _scatter(bytes_: float, devices: int = 4) -> float:
    """Alpa's price of a reduce-scatter on links of speed 1."""
    return 1 + (devices - 1) / devices * bytes_ + 0.001


_BERT = (
    sum(_linear(128, outputs, 2, 2, 2.0) for outputs in (128, 128, 128, 128, 512))
    + _linear(512, 128, 2, 2, 2.0)
    + 4 * all_reduce(4 * 128 / 2, 2, 2.0)
)
"""Gradients of one layer of Alpa's two: query, key, value, projection, up, down, two normalizations."""

FOUND = (
    Found(
        "C1/C2", "transformer, 2 layers: 4L-1", "transformer", "model=4", "alpa.toml", {"all_reduce": 7},
        7 * all_reduce(8 * 8 * 64 * 4, 4),
    ),
    Found(
        "C2 again", "the same, each layer computed again: 6L-1", "checkpointed", "model=4", "alpa.toml",
        {"all_reduce": 11}, 11 * all_reduce(8 * 8 * 64 * 4, 4),
        ours={"all_gather": 2, "all_reduce": 7, "reduce_scatter": 4},
    ),  # what follows a layer's last product stays split until all that need the whole share one gather
    Found(
        "C3", "transformer, 2 layers, links of unlike speed: 4L", "published_transformer", "data=2,model=2",
        "alpa-2d-bert.toml", {"all_reduce": 8},
        2 * _BERT + 7 * all_reduce(8 * 8 * 128 * 4 / 2, 2, 2.0, 10.0), ("x=[data, ?, ?]", "target=[data, ?, ?]"),
    ),
    Found(
        "C5", "MLP, 6 layers: L-1", "mlp", "model=4", "alpa.toml", {"all_reduce": 5},
        5 * all_reduce(32 * 64 * 4, 4),
    ),
    Found(
        "C6 DP", "MLP, 2 layers, large batch", "wide_batch_mlp", "data=4", "alpa.toml", {"all_reduce": 1},
        2 * all_reduce(32 * 32 * 4, 4),
    ),
    Found(
        "C6 ZeRO-2", "the same in 99.6 KiB a device", "wide_batch_mlp", "data=4", "alpa.toml",
        {"reduce_scatter": 1, "all_gather": 1}, 2 * (_scatter(32 * 32 * 4) + _gather(32 * 32 * 4)), memory=102_000,
    ),
    Found(
        "C6 ZeRO-3", "the same in 91.8 KiB a device", "wide_batch_mlp", "data=4", "alpa.toml",
        {"reduce_scatter": 1, "all_gather": 2}, 2 * (_scatter(32 * 32 * 4) + 2 * _gather(32 * 32 * 4)), memory=94_000,
    ),
    Found(
        "C7", "MLP, 6 layers, links of unlike speed: L", "published_mlp", "data=2,model=2", "alpa-2d.toml",
        {"all_reduce": 6}, 6 * _linear(32, 32, 2, 2) + 5 * all_reduce(256 * 32 * 4 / 2, 2, 1.0, 10.0),
        ("x=[data, ?]", "target=[data, ?]"),
    ),
    Found(
        "C9", "conv net, 3 layers, large batch: 1 + 2 per BN", "published_conv_net", "data=4", "alpa.toml",
        {"all_reduce": 7}, 3 * (all_reduce(4 * 9 * 4 * 4, 4) + 6 * all_reduce(4 * 4, 4)),
    ),
    Found(
        "C10", "conv net, 4 layers, many channels: L-1", "published_wide_conv_net", "model=4", "alpa.toml",
        {"all_reduce": 3}, sum(all_reduce(8 * 256 * size * size * 4, 4) for size in (4, 4, 1)),
    ),
    Found(
        "C10 dw", "depthwise block", "depthwise", "model=4", "alpa.toml", {"all_reduce": 1},
        all_reduce(4 * 64 * 8 * 8 * 4, 4),
    ),
)  # fmt: skip
"""Alpa's tests by what they assume: links, sizes and what it fixes (on two axes the batch lies on the first). Its cost
of a plan counts gradients one by one, before they are combined."""


def find(check: Found, folder: Path) -> tuple[Verdict, float]:
    """Search a training step, partition and simulate it, and compare it with PyTorch.

    Args:
        folder: with the machine files.

    Returns:
        How it ran, and what the plan communicates.
    """
    prepared, mesh, module = _asked(check)
    shard = f"builtin.module(jogak-search{{machine={folder / check.machine} split-heavy=true memory={check.memory}}})"
    run_pipeline(module, shard)
    told = read_search(module)
    assert told is not None
    verdict = run_sharded(module, prepared, mesh, True, None, shard="builtin.module()")
    return verdict, told["communication_time_s"]


def _asked(check: Check | Found) -> tuple[Prepared, Mesh, ir.Module]:
    """The import of a check's model, its mesh, and a program with the constraints on it."""
    prepared = prepare(f"{_MODELS}:{check.model}", True, None)
    mesh = Mesh.parse(check.mesh)
    module = prepared.module.operation.clone()
    declare_mesh(module, mesh)
    function = main_function(module).operation
    constraints = [Constraint.parse(text) for text in check.constraints]
    write_constraints(function, resolve(constraints, read_arguments(function), mesh))
    return prepared, mesh, module


def measure(check: Check) -> Verdict:
    """Import, shard, partition and simulate a training step with AdamW, and compare it with PyTorch."""
    prepared, mesh, module = _asked(check)
    return run_sharded(module, prepared, mesh, True, None)


def counts_of(verdict: Verdict) -> dict[str, int]:
    """Collectives by kind, as the simulator counted them."""
    return {kind: int(entry["count"]) for kind, entry in verdict.counted.items()}
