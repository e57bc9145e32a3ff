"""Slices of slices."""

from __future__ import annotations

from torch_mlir import ir

from jogak.ir.rewrite import build
from jogak.ir.rewrite.dimensions import is_full_rank, static


def merge_slices(function: ir.Operation) -> int:
    """Take slices of slices from the whole value, if those have unit strides and full rank; return how many."""
    merged = 0
    for op in build.top_level(function):
        if op.name != "tensor.extract_slice" or not is_full_rank(op):
            continue
        inner = op.operands[0].owner
        if isinstance(inner, ir.Block) or inner.name != "tensor.extract_slice" or not is_full_rank(inner.operation):
            continue
        offsets = [a + b for a, b in zip(static(op, "offsets"), static(inner.operation, "offsets"), strict=True)]
        op.attributes["static_offsets"] = ir.DenseI64ArrayAttr.get(offsets)
        op.operands[0] = inner.operands[0]
        merged += 1
    return merged
