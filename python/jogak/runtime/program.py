"""A program as plain data: what a device runs, without MLIR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from jogak.runtime.spec import KernelSpec
from jogak.runtime.types import TensorType
from jogak.sharding.mesh import Mesh

if TYPE_CHECKING:
    from torch_mlir import ir

    from jogak.runtime.arena import ArenaPlan


@dataclass(frozen=True)
class Argument:
    """An argument of `@main`; `value` is its number among the program's values."""

    name: str
    role: str
    type: TensorType
    value: int


@dataclass(frozen=True)
class Result:
    """A result of `@main`; `updates` is the number of the argument that it is the next value of."""

    name: str
    role: str
    type: TensorType
    value: int
    updates: int | None = None


@dataclass(frozen=True)
class Collective:
    """A `shard` op that devices meet at, or whose result depends on the device.

    Attributes:
        kind: the op's name without the dialect: `all_reduce`, `all_slice`, `send`, `process_multi_index`, ...
        axes: mesh axes of the group, major to minor (`grid_axes`).
        dim: the tensor dimension it gathers, scatters or slices; for `all_to_all` the one it splits.
        concat_dim: the dimension that `all_to_all` concatenates.
        reduction: `sum`, `max`, ...
        peer: multi-index in the group of the root, source or destination; `DYNAMIC` where it is an operand.
        halo: for each dimension (mesh axes, low size, high size), for `update_halo`.
        shift: (mesh axis, offset, rotates), for `shift`.
        sources: for `permute`, from which position of the group each position receives.
        told: the axes by the names that the user gave, where some are sub-axes.
    """

    kind: str
    axes: tuple[str, ...]
    dim: int = 0
    concat_dim: int = 0
    reduction: str = ""
    peer: tuple[int, ...] | None = None
    halo: tuple[tuple[tuple[str, ...], int, int], ...] = ()
    shift: tuple[str, int, bool] | None = None
    sources: tuple[int, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class KernelStep:
    """Run a kernel: `results = kernel(operands)`; `again` says that it repeats another step (rematerialization)."""

    spec: KernelSpec
    operands: tuple[int, ...]
    results: tuple[int, ...]
    location: str
    frees: tuple[int, ...] = ()
    again: bool = False


@dataclass(frozen=True)
class ConstantStep:
    """A constant with more than one distinct element."""

    data: Tensor
    type: TensorType
    results: tuple[int, ...]
    location: str
    operands: tuple[int, ...] = ()
    frees: tuple[int, ...] = ()


@dataclass(frozen=True)
class CollectiveStep:
    """A `shard` op: `operands` are the tensor (if it has one) and dynamic indices behind it."""

    collective: Collective
    operands: tuple[int, ...]
    results: tuple[int, ...]
    operand_type: TensorType
    result_type: TensorType
    location: str
    frees: tuple[int, ...] = ()


Step = KernelStep | ConstantStep | CollectiveStep


@dataclass(frozen=True)
class Program:
    """What one device runs: straight-line steps over numbered values.

    Attributes:
        arguments: in the order of `@main`.
        results: in the order of `@main`.
        steps: in order; each names the values that nothing reads after it.
        values: how many values there are.
        mesh: the mesh that collectives refer to; None when there is none.
        arena: where every value lies; None in a program without a memory plan.
    """

    arguments: tuple[Argument, ...]
    results: tuple[Result, ...]
    steps: Sequence[Step]
    values: int
    mesh: Mesh | None = None
    arena: ArenaPlan | None = None


def load_program(module: ir.Module) -> Program:
    """Read `@main` of a module; the module is not changed.

    Raises:
        JogakError: there is no `@main`, or it holds an op that cannot be executed.
    """
    from jogak.runtime.reader import read_program

    return read_program(module)
