"""What random programs are made of, and how often."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from jogak.testing.random_chains import gradients, heads, padded_windows
from jogak.testing.random_kinds import (
    argmax,
    causal_mask,
    collapse,
    computed_fill,
    concat,
    contraction,
    elementwise,
    expand,
    extract_slice,
    gather,
    insert_slice,
    iota,
    nested_gather,
    pad,
    reduction,
    scan,
    scatter,
    sort,
    unknown,
    window,
)
from jogak.testing.random_programs import EVEN, LONG, SIZES, Builder

OPS: dict[Callable[[Builder], None], float] = {
    elementwise: 6, contraction: 5, reduction: 4, argmax: 0.7, causal_mask: 1.5, iota: 1, collapse: 2, expand: 2,
    extract_slice: 2.5, insert_slice: 1.5, pad: 2, concat: 2, window: 3, gather: 2.5, nested_gather: 0.7,
    padded_windows: 1, heads: 1, gradients: 1, scatter: 1.5, scan: 0.7, sort: 0.7, computed_fill: 0.5, unknown: 0.4,
}  # fmt: skip
"""Every op with how often it is chosen."""
SPATIAL: dict[Callable[[Builder], None], float] = {
    padded_windows: 6, window: 2, pad: 2, concat: 1.5, extract_slice: 2, elementwise: 3, reduction: 1, insert_slice: 1,
}  # fmt: skip
"""Those that read along a dimension."""
HEADS: dict[Callable[[Builder], None], float] = {
    heads: 6, gradients: 2, expand: 2, collapse: 2, contraction: 3, elementwise: 2, reduction: 1, extract_slice: 1,
}  # fmt: skip
"""Those that take dimensions apart."""


def random_program(random: Random, ops: int) -> str:
    """The text of a module with one function and about this many ops.

    Of every kind, or mostly of those that read along a dimension, or of those that take dimensions apart.
    """
    chosen, sizes = random.choices(((OPS, SIZES), (SPATIAL, LONG), (HEADS, EVEN)), (5, 3, 2))[0]
    builder = Builder(random, sizes=sizes)
    for _ in range(ops):
        kinds, weights = zip(*chosen.items(), strict=True)
        random.choices(kinds, weights)[0](builder)
    return builder.text()
