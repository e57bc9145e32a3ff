"""Zeros around and between the elements of what a convolution reads, as arguments of PyTorch's convolution.

The program writes `tensor.pad` in front of a convolution, and the gradient of a strided one spreads the elements first:
a dimension of size 1 is padded and merged. As arguments they cost nothing, as ops a copy of the tensor each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jogak.runtime.kernels import margins as kernels
from jogak.runtime.kernels.build import build
from jogak.runtime.liveness import plan
from jogak.runtime.program import KernelStep, Step
from jogak.runtime.spec import ConvolutionSpec, LinalgSpec, Margin, TensorSpec, constant_value


def with_margins(steps: Sequence[Step], results: Sequence[int]) -> tuple[Step, ...]:
    """Steps in which convolutions read what is in front of the zeros, and nothing makes zeros that nobody reads.

    Args:
        steps: of a program.
        results: the values that it returns.
    """
    makers: dict[int, KernelStep] = {}
    kept: list[Step] = []
    for step in steps:
        if isinstance(step, KernelStep):
            step = _folded(step, makers)
            makers |= dict.fromkeys(step.results, step)
        kept.append(step)
    return plan(kept, results)


def _folded(step: KernelStep, makers: Mapping[int, KernelStep]) -> KernelStep:
    if not isinstance(step.spec, LinalgSpec) or len(step.spec.region.captures):
        return step
    for at, operand in enumerate(step.operands):
        for source, margins in _sources(operand, makers):
            if not kernels.is_convolution(build(step.spec)):
                return step
            made = ConvolutionSpec(step.spec, at, margins)
            if kernels.rewrite(build(step.spec), made, None) is not None:
                operands = (*step.operands[:at], source, *step.operands[at + 1 :])
                return KernelStep(made, operands, step.results, step.location, again=step.again)
    return step


def _sources(operand: int, makers: Mapping[int, KernelStep]) -> list[tuple[int, tuple[Margin, ...]]]:
    """The value behind a padding of zeros, where they are spread first what is behind that before it."""
    pad = _tensor_step(operand, makers)
    padded = _padding(pad)
    if pad is None or padded is None:
        return []
    shape = pad.spec.operands[0].shape
    around = tuple(Margin(size, 1, *widths) for size, widths in zip(shape, padded, strict=True))
    spread = _spread(pad.operands[0], makers)
    if spread is None:
        return [(pad.operands[0], around)]
    source, margins = spread
    both = tuple(m._replace(low=a.low, high=m.high + a.high) for m, a in zip(margins, around, strict=True))
    return [(source, both), (pad.operands[0], around)]


def _spread(operand: int, makers: Mapping[int, KernelStep]) -> tuple[int, tuple[Margin, ...]] | None:
    """The value whose elements were set apart: dimensions of size 1 are added, padded at their end, and merged."""
    chain = []
    for name in ("tensor.collapse_shape", "tensor.pad", "tensor.expand_shape"):
        step = _tensor_step(operand, makers)
        if step is None or step.spec.name != name:
            return None
        chain.append(step)
        operand = step.operands[0]
    merged, pad, split = chain
    widths, shape = _padding(pad), split.spec.operands[0].shape
    if widths is None or any(low for low, _ in widths) or len(shape) != len(merged.spec.results[0].shape):
        return None
    margins = []
    dims = iter(zip(split.spec.results[0].shape, widths, strict=True))
    for size, extent in zip(shape, merged.spec.results[0].shape, strict=True):
        outer, (_, behind) = next(dims, (0, (0, 0)))
        if outer != size or behind:
            return None
        spread = 1
        if extent != size:
            inner, (_, behind) = next(dims, (0, (0, 0)))
            spread = behind + 1
            if inner != 1:
                return None
        margins.append(Margin(size, spread, 0, spread - 1))
    right = next(dims, None) is None and tuple(m.extent for m in margins) == merged.spec.results[0].shape
    return (operand, tuple(margins)) if right else None


def _tensor_step(number: int, makers: Mapping[int, KernelStep]) -> Any:
    step = makers.get(number)
    return step if step is not None and isinstance(step.spec, TensorSpec) else None


def _padding(step: Any) -> list[tuple[int, int]] | None:
    """The widths of a static padding with zeros."""
    if step is None or step.spec.name != "tensor.pad" or step.spec.attribute("value") is None:
        return None
    low, high = step.spec.attribute("static_low"), step.spec.attribute("static_high")
    value = constant_value(str(step.spec.attribute("value")), step.spec.results[0].element)
    return list(zip(low, high, strict=True)) if value == 0 and min(*low, *high) >= 0 else None
