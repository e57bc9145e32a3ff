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
