"""Sharding rules of torch-mlir's `tm_tensor` dialect: scatter, scan, sort and the like."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from jogak.ir.structured import combiner_of, shape_of
from jogak.sharding.rule import Dims, Factor, FactorKind, OpShardingRule
from jogak.sharding.sharding import Combiner


def scatter_combiner(op: ir.Operation) -> Combiner | None:
    """How a scatter merges an update into the target: None when it overwrites, or does anything else."""
    block = op.regions[0].blocks[0]
    value = list(block.operations)[-1].operands[0]
    if isinstance(value, ir.BlockArgument) or set(value.owner.operands) != set(block.arguments):
        return None
    return combiner_of(value.owner)


def scatter_rule(op: ir.Operation) -> OpShardingRule:
    """`tm_tensor.scatter(updates, indices, target)`.

    The updates are a reduction into the target; the target's scattered dimension is addressed by data; its other
    dimensions pass through. An update has all dimensions of the target (with size 1 for the scattered one), or all but
    that.
    """
    updates, indices, target = (shape_of(operand) for operand in op.operands)
    scattered = [int(dim) for dim in op.attributes["dimension_map"]]
    combiner = scatter_combiner(op)
    reason = "" if combiner is not None else "the scatter does not combine an update with what is there"
    window = updates[1:]
    if len(scattered) != 1 or not _is_row(window, target, scattered[0]):
        reason = "the scatter addresses several dimensions"
    if reason:
        return OpShardingRule.blocked((updates, indices, target), (target,), reason)
    factors = [Factor(updates[0], FactorKind.REDUCTION, (combiner,))]
    factors.append(Factor(target[scattered[0]], FactorKind.INDEXED, (None,)))
    target_dims: list[tuple[int, ...]] = [()] * len(target)
    update_dims: list[tuple[int, ...]] = [(0,)]
    target_dims[scattered[0]] = (1,)
    for dim, size in enumerate(target):
        if dim not in scattered:
            factors.append(Factor(size))
            target_dims[dim] = (len(factors) - 1,)
            update_dims.append((len(factors) - 1,))
        elif len(window) == len(target):
            update_dims.append(())
    index_dims: Dims = ((0,), ())
    return OpShardingRule(tuple(factors), (tuple(update_dims), index_dims, tuple(target_dims)), (tuple(target_dims),))


def _is_row(window: Sequence[int], target: Sequence[int], dim: int) -> bool:
    """Whether an update is one whole row of the target."""
    row = [*target[:dim], *target[dim + 1 :]]
    return list(window) in (row, [*target[:dim], 1, *target[dim + 1 :]])


def along_dimension_rule(op: ir.Operation) -> OpShardingRule:
    """`scan`, `sort`, `topk`: every dimension but the one it works along passes through."""
    axis = int(ir.IntegerAttr(op.attributes["dimension"]).value)
    operands = [shape_of(operand) for operand in op.operands]
    results = [shape_of(result) for result in op.results]
    rank = max(len(shape) for shape in operands)
    full = next(shape for shape in operands if len(shape) == rank)
    factors = [
        Factor(size, FactorKind.BLOCKED if dim == axis else FactorKind.PARALLEL) for dim, size in enumerate(full)
    ]

    def tensor(shape: Sequence[int]) -> Dims:
        dims = [dim for dim in range(rank) if dim != axis] if len(shape) < rank else list(range(rank))
        return tuple(
            (dim,) if size == full[dim] and size != 1 else _whole(factors, size)
            for dim, size in zip(dims, shape, strict=True)
        )

    operand_dims, result_dims = tuple(map(tensor, operands)), tuple(map(tensor, results))
    return OpShardingRule(tuple(factors), operand_dims, result_dims, f"{op.name} works along the dimension")


def _whole(factors: list[Factor], size: int) -> tuple[int, ...]:
    if size == 1:
        return ()
    factors.append(Factor(size, FactorKind.BLOCKED))
    return (len(factors) - 1,)
