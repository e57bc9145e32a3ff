"""From the description of an op to its kernel, once for every structure."""

from __future__ import annotations

from functools import cache

from torch import fx

from jogak.runtime.kernels import linalg, margins, tensor_ops, tm_tensor
from jogak.runtime.kernels.emit import Emitter
from jogak.runtime.spec import ConvolutionSpec, KernelSpec, LinalgSpec, RegionSpec
from jogak.runtime.types import Precision


def build(spec: KernelSpec, precision: Precision | None = None) -> fx.GraphModule:
    """The kernel of an op: tensors in the order of the spec's tensor operands, then the captured ones.

    It returns a tensor, or a tuple of them when the op has several results.

    Raises:
        JogakError: the op, an element type or an op in the region cannot be lowered.
    """
    return _built(spec, precision)


@cache
def _built(spec: KernelSpec, precision: Precision | None) -> fx.GraphModule:
    if isinstance(spec, ConvolutionSpec):
        kernel = margins.rewrite(build(spec.spec, precision), spec, precision)
        assert kernel is not None, "made only where it can be written"
        return kernel
    emit = Emitter(precision)
    if isinstance(spec, LinalgSpec):
        results = linalg.lower(emit, spec)
    elif isinstance(spec, RegionSpec):
        results = tm_tensor.lower(emit, spec)
    else:
        results = tensor_ops.lower(emit, spec)
    return emit.finish(results, "Kernel")
