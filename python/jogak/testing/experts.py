"""The plans that experts write by hand, as constraints on the arguments of a program.

Everything that an expert leaves open is searched, so that a plan here costs at most what the expert's would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from jogak.sharding.constraints import Seed
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.selection import Argument
from jogak.sharding.sharding import DimSpec

MODELS: Mapping[str, str] = {
    "gpt2": "zoo:gpt2?batch=64",
    "llama-8b": "zoo:llama?preset=8b&sequence=2048&batch=64",
    "llama-8b-small-batch": "zoo:llama?preset=8b&sequence=2048&batch=8",
    "moe": "zoo:moe?batch=64",
    "vit-l": "zoo:vit?preset=large&batch=256",
    "wide-resnet": "zoo:resnet?widen=2&batch=256",
    "unet": "zoo:unet?batch=64",
}
"""Training steps that plans are compared on, by name."""
PLANS = ("data parallel", "ZeRO-2", "ZeRO-3", "Megatron", "Megatron + ZeRO-3")
"""Megatron leaves the activations between its layers open: sequence parallelism where that is cheaper."""

_COLUMN = re.compile(r"(^|\.)(qkv|q|k|v|query|key|value|q_proj|k_proj|v_proj|up|gate|w1|w3|fc1|c_fc)\.weight$")
_ROW = re.compile(r"(^|\.)(proj|o|out|o_proj|down|w2|fc2|c_proj)\.weight$")


def expert_seeds(plan: str, arguments: Sequence[Argument], mesh: Mesh) -> list[Seed]:
    """The constraints of one of `PLANS`: batch over the major axes, weights over the minor one for Megatron's.

    Args:
        arguments: the program's; a seed's value is the position of its argument.
    """
    tensor = plan.startswith("Megatron") and len(mesh.axes) > 1
    model = mesh.axes[-1:] if tensor else ()
    data = mesh.axes[: len(mesh.axes) - len(model)]
    return list(_seeds(plan, arguments, mesh, data, model))


def _seeds(
    plan: str, arguments: Sequence[Argument], mesh: Mesh, data: tuple[str, ...], model: tuple[str, ...]
) -> Iterator[Seed]:
    for number, argument in enumerate(arguments):
        dims: list[tuple[str, ...]] = [()] * len(argument.shape)
        name, role = argument.name, argument.role
        if role == "input" and dims and splits(argument.shape[0], data, mesh):
            dims[0] = data
        if role in ("parameter", "optimizer_state") and model:
            at = _tensor_dim(name, argument.shape)
            if at is not None and splits(argument.shape[at], model, mesh):
                dims[at] = model
        spread = plan == "ZeRO-2" and role == "optimizer_state"
        if spread or ("ZeRO-3" in plan and role in ("parameter", "optimizer_state")):
            _spread(dims, argument.shape, data, mesh)
        if role in ("input", "parameter", "optimizer_state"):
            yield Seed(number, tuple(DimSpec(axes) for axes in dims), 0, plan)


def _tensor_dim(name: str, shape: Sequence[int]) -> int | None:
    """The dimension of a weight that Megatron splits: the outputs of a first layer, the inputs of a second one."""
    if len(shape) < 2:
        return None
    if _COLUMN.search(name):
        return len(shape) - 2
    if _ROW.search(name):
        return len(shape) - 1
    return 0 if "experts" in name and len(shape) > 2 else None


def _spread(dims: list[tuple[str, ...]], shape: Sequence[int], axes: tuple[str, ...], mesh: Mesh) -> None:
    """Split the largest free dimension that the axes divide."""
    free = [d for d, taken in enumerate(dims) if not taken and shape[d] % mesh.size(axes) == 0]
    if free:
        dims[max(free, key=lambda d: shape[d])] = axes
