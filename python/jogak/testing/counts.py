"""Collective counts of small training steps with shardings that the user gave, against numbers that are known.

The checks are those of the published Alpa tests; `gradient all-reduces combined` counts a bucket as one collective.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jogak.ir.grid import declare_mesh
from jogak.ir.module import main_function
from jogak.sharding.annotation import read_arguments, write_constraints
from jogak.sharding.constraints import Constraint, resolve
from jogak.sharding.mesh import Mesh
from jogak.testing.equality import Verdict, prepare, run_sharded

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


def measure(check: Check, *, machine: str = "") -> Verdict:
    """Import, shard, partition and simulate a training step with AdamW, and compare it with PyTorch.

    Args:
        machine: a machine file; the search finds the sharding on it, instead of the user's constraints giving it.
    """
    prepared = prepare(f"{_MODELS}:{check.model}", True, None)
    mesh = Mesh.parse(check.mesh)
    module = prepared.module.operation.clone()
    declare_mesh(module, mesh)
    if machine:
        shard = f"builtin.module(jogak-search{{machine={machine} split-heavy=true memory=-1}})"
        return run_sharded(module, prepared, mesh, True, None, shard=shard)
    function = main_function(module).operation
    constraints = [Constraint.parse(text) for text in check.constraints]
    write_constraints(function, resolve(constraints, read_arguments(function), mesh))
    return run_sharded(module, prepared, mesh, True, None)


def counts_of(verdict: Verdict) -> dict[str, int]:
    """Collectives by kind, as the simulator counted them."""
    return {kind: int(entry["count"]) for kind, entry in verdict.counted.items()}
