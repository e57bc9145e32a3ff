"""Products with an exchange matrix as reversed reads.

The gradient of a convolution reverses the window of its weight by a product with the exchange matrix, because a product
shards and reversed indexing does not. Once a program is that of one device, the product is only a slow way to reverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor

from jogak.runtime.kernels.build import build
from jogak.runtime.program import KernelStep, Step
from jogak.runtime.spec import Expr, IndexingMap, LinalgSpec, Linear, Region, is_projection

_LARGEST = 1 << 14
"""Elements of the largest exchange matrix that is looked for."""


def with_reversals(steps: Sequence[Step]) -> list[Step]:
    """The steps with every product with an exchange matrix as a reversed read of the other factor.

    Where a filter slides over data, the reversed read becomes part of that op.
    """
    free = {step.results[0]: step for step in steps if isinstance(step, KernelStep) and not step.operands}
    read: dict[int, KernelStep] = {}
    found: list[Step] = []
    for step in steps:
        if isinstance(step, KernelStep):
            changed = _reversed(step, free)
            if changed is not step:
                read[step.results[0]] = changed
            step = _through(changed, read)
        found.append(step)
    return found


def _through(step: KernelStep, read: Mapping[int, KernelStep]) -> KernelStep:
    """A step in which the filter of a window is read backwards where it lies."""
    spec = step.spec
    if not isinstance(spec, LinalgSpec) or len(step.operands) != 2 or spec.tensors() != (0, 1):
        return step
    shapes = [each.shape for each in spec.operands]
    plain = [is_projection(map_, shape) for map_, shape in zip(spec.maps, shapes, strict=True)]
    if plain not in ([True, False, True], [False, True, True]):
        return step
    filters = plain.index(True)
    if any(factor != 1 and spec.parallel[loop] for expr in spec.maps[1 - filters] for loop, factor in _terms(expr)):
        return step  # only windows that move by one element have a transposed form
    made = read.get(step.operands[filters])
    if made is None or not isinstance(made.spec, LinalgSpec):
        return step
    behind = {expr.loop: via for expr, via in zip(made.spec.maps[1], spec.maps[filters], strict=True)}  # type: ignore[union-attr]
    map_ = tuple(_composed(expr, behind) for expr in made.spec.maps[0] if isinstance(expr, Linear))
    maps = tuple(map_ if k == filters else each for k, each in enumerate(spec.maps))
    types = tuple(made.spec.operands[0] if k == filters else each for k, each in enumerate(spec.operands))
    operands = tuple(made.operands[0] if k == filters else each for k, each in enumerate(step.operands))
    return replace(step, spec=spec._replace(maps=maps, operands=types), operands=operands)


def _terms(expr: Expr) -> tuple[tuple[int, int], ...]:
    return expr.terms if isinstance(expr, Linear) else ()


def _composed(expr: Linear, behind: Mapping[int | None, Expr]) -> Linear:
    """A dimension of what is read, in the loops of the op that reads the copy."""
    if not expr.terms:
        return expr
    ((loop, sign),) = expr.terms
    via = behind[loop]
    assert isinstance(via, Linear)
    return Linear(tuple((each, sign * factor) for each, factor in via.terms), expr.constant + sign * via.constant)


def _reversed(step: KernelStep, free: Mapping[int, KernelStep]) -> KernelStep:
    spec = step.spec
    if not isinstance(spec, LinalgSpec) or len(step.operands) != 2 or not _is_product(spec):
        return step
    for value, matrix in ((0, 1), (1, 0)):
        made = free.get(step.operands[matrix])
        pairs = _exchanged(spec, matrix, made) if made is not None else None
        if pairs is not None:
            read = _read(spec, value, pairs)
            return KernelStep(read, (step.operands[value],), step.results, step.location, step.frees, step.again)
    return step


def _is_product(spec: LinalgSpec) -> bool:
    """Whether an op sums products of two operands from zero."""
    names = [op.name for op in spec.region.ops]
    if names != ["arith.mulf", "arith.addf"] or spec.inputs != 2 or len(spec.operands) != 3:
        return False
    product, total = spec.region.ops
    zero = spec.splats[2] is not None and float.fromhex(spec.splats[2]) == 0
    formed = {*product.operands} == {0, 1} and {*total.operands} == {2, 3} and spec.region.yields == (4,)
    shapes = [each.shape for each in spec.operands]
    return zero and formed and all(is_projection(*pair) for pair in zip(spec.maps, shapes, strict=True))


def _exchanged(spec: LinalgSpec, matrix: int, made: KernelStep) -> dict[int, int] | None:
    """For each summed loop the loop of the result that runs the other way; None where the matrix is another one."""
    loops = _loops(spec.maps[matrix])
    summed = [loop for loop in loops if not spec.parallel[loop]]
    kept = [loop for loop in loops if spec.parallel[loop]]
    other = set(_loops(spec.maps[1 - matrix]))
    if sorted(summed) != sorted(spec.reduction_loops) or len(summed) != len(kept) or not other.isdisjoint(kept):
        return None
    if len(loops) != len(spec.operands[matrix].shape) or spec.operands[matrix].bytes > _LARGEST:
        return None
    value: Tensor = build(made.spec)()
    for order in permutations(kept):
        pairs = dict(zip(summed, order, strict=True))
        if all(spec.sizes[a] == spec.sizes[b] for a, b in pairs.items()) and _is_exchange(value, loops, pairs):
            return pairs
    return None


def _is_exchange(value: Tensor, loops: Sequence[int], pairs: Mapping[int, int]) -> bool:
    expected = torch.ones_like(value)
    for summed, kept in pairs.items():
        size = value.shape[loops.index(summed)]
        flipped = torch.eye(size, dtype=value.dtype).flip(0)
        shape = [size if loop in (summed, kept) else 1 for loop in loops]
        expected = expected * flipped.reshape(shape)
    return torch.equal(value, expected)


def _loops(map_: IndexingMap) -> list[int]:
    return [expr.loop for expr in map_ if isinstance(expr, Linear) and expr.loop is not None]


def _read(spec: LinalgSpec, value: int, pairs: Mapping[int, int]) -> LinalgSpec:
    """A copy of one operand that goes backwards along the summed loops."""
    left = [loop for loop, parallel in enumerate(spec.parallel) if parallel]
    number = {loop: at for at, loop in enumerate(left)}

    def expr(old: Linear) -> Linear:
        if old.loop is None:
            return old
        if old.loop in pairs:
            return Linear(((number[pairs[old.loop]], -1),), spec.sizes[old.loop] - 1)
        return Linear(((number[old.loop], 1),))

    element = spec.operands[value].element
    return LinalgSpec(
        sizes=tuple(spec.sizes[loop] for loop in left),
        parallel=(True,) * len(left),
        maps=tuple(tuple(expr(each) for each in spec.maps[k] if isinstance(each, Linear)) for k in (value, 2)),
        inputs=1,
        operands=(spec.operands[value], spec.operands[2]),
        splats=(None, None),
        region=Region((element, element), (), (), (0,)),
    )
