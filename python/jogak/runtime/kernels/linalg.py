"""`linalg.generic` as torch code.

Per result, the first that fits: a contraction or convolution (`contract`), a recognized reduction or plain arithmetic
(`reduce`); arg-max pairs (`argmax`) are recognized as a whole; what is left runs its reduction loops one by one
(`sequential`).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from jogak.runtime.kernels import argmax, contract, reduce, sequential
from jogak.runtime.kernels.emit import Emitter
from jogak.runtime.kernels.generic import Generic
from jogak.runtime.spec import LinalgSpec


def lower(emit: Emitter, spec: LinalgSpec) -> Sequence[Tensor]:
    """The results of a structured op, in order."""
    op = Generic(emit, spec)
    op.region.check_assertions()
    results = argmax.lower(op) or _vectorized(op)
    return results if results is not None else sequential.lower(op)


def _vectorized(op: Generic) -> list[Tensor] | None:
    results: list[Tensor] = []
    for result in range(len(op.spec.region.yields)):
        value = contract.lower(op, result)
        if value is None:
            value = reduce.lower(op, result)
        if value is None:
            return None
        results.append(value)
    return results
