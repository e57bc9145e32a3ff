"""The pipelines of the compiler's phases, as text."""

from __future__ import annotations

NORMALIZE = (
    "builtin.module("
    "jogak-strip-asserts,jogak-fold-scalar-casts,jogak-expand-powers,"
    "func.func(linalg-generalize-named-ops),canonicalize,cse,"
    "jogak-recognize-fills,jogak-drop-unused-results,jogak-fuse-elementwise,canonicalize,cse,"
    "jogak-isolate-gathers,jogak-merge-slices,jogak-refine-dimensions,"
    "jogak-fuse-elementwise,canonicalize,cse)"
)
"""From what the importer gives to few linalg ops whose indexing maps name every dimension."""


def micro_batch_pipeline(count: int) -> str:
    """From a training step on the whole batch to one that takes it in parts."""
    return f"builtin.module(jogak-micro-batch{{count={count}}},canonicalize,cse)"


def partition_pipeline(options: str = "", target: str = "") -> str:
    """From an annotated program to that of one device with few collectives.

    Args:
        options: `machine=… cost-model=…`, for the passes that decide by price.
        target: whose memory the program takes; the memory model's own count when empty.
    """
    priced = f"{{{options}}}" if options else ""
    scratch = f",jogak-annotate-scratch{{target={target}}}" if target else ""
    return (
        "builtin.module("
        f"jogak-partition{priced},canonicalize,cse,"
        f"jogak-merge-reductions,jogak-scatter-reductions,jogak-bucket-collectives{priced},"
        f"canonicalize,cse,jogak-mark-recomputation{scratch})"
    )


def fit_pipeline(options: str) -> str:
    """From the program of one device to one that fits its memory, with the place of every value.

    Args:
        options: `memory=… machine=… cost-model=…`.
    """
    return f"builtin.module(jogak-rematerialize{{{options}}},jogak-plan-memory)"


PARTITION = partition_pipeline()
"""The same for the default machine."""

LOWERING = "builtin.module(jogak-multiply-windows)"
"""What a compiler that knows no convolution gets: functions whose windows are matrix products."""
