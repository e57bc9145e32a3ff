"""The sharding rule of a `linalg.generic`, read from its indexing maps and its region.

One factor a loop; a plain `d_i` in a map says that the dimension is that factor. A reduction loop's combiner is read
from the region. A table that the region reads by data (`tensor.extract`) gets an `INDEXED` factor.
"""

from __future__ import annotations

from dataclasses import replace

from torch_mlir import ir

from jogak.ir.affine import LinearExpr
from jogak.ir.structured import Extract, Structured, element_of, is_tensor, region_ops, shape_of
from jogak.sharding.rule import Dims, Factor, FactorKind, OpShardingRule
from jogak.sharding.sharding import Combiner
from jogak.sharding.windows import Window

_DIVISIONS = {f"arith.{name}" for name in ("divsi", "divui", "remsi", "remui", "ceildivsi", "ceildivui", "floordivsi")}


def generic_rule(op: ir.Operation) -> OpShardingRule:
    """The rule of a `linalg.generic`; operands are its inputs, its outputs and then the tensors it captures."""
    return _Builder(Structured(op)).build()


def _may_trap(op: ir.Operation) -> bool:
    """Whether a scalar op is undefined on numbers that padding may hold: an integer division by what is no constant."""
    if op.name not in _DIVISIONS:
        return False
    divisor = op.operands[1]
    return isinstance(divisor, ir.BlockArgument) or divisor.owner.name != "arith.constant"


class _Builder:
    """Collects the factors of one op."""

    def __init__(self, structured: Structured) -> None:
        self.structured = structured
        self.maps = [
            tuple(map(self._without_single, exprs, shape_of(value)))
            for value, exprs in zip(structured.operands, structured.maps, strict=True)
        ]
        self.result_maps = self.maps[structured.inputs :]
        self.reasons: list[str] = []
        self.windowed: dict[tuple[int, int], int] = {}
        self.factors = [self._loop_factor(loop) for loop in range(len(structured.parallel))]

    def build(self) -> OpShardingRule:
        structured = self.structured
        self._block_windows()
        operands = [
            self._map_dims(number, exprs, shape_of(value))
            for number, (value, exprs) in enumerate(zip(structured.operands, self.maps, strict=True))
            if is_tensor(value)
        ]
        results = tuple(operands[len(operands) - len(structured.outputs) :])
        operands += [self._table_dims(table) for table in structured.captures]
        loops = len(structured.parallel)
        if any(_may_trap(inner) for inner in region_ops(structured.op)):
            self.factors[:loops] = [replace(factor, even=True) for factor in self.factors[:loops]]
        return OpShardingRule(tuple(self.factors), tuple(operands), results, "; ".join(self.reasons))

    def _loop_factor(self, loop: int) -> Factor:
        """A loop that is in the map of every result is parallel; for a result that lacks it, it reduces."""
        size = self.structured.sizes[loop]
        lacking = [all(expr is None or expr.loop != loop for expr in exprs) for exprs in self.result_maps]
        if size == 1 or not any(lacking):
            return Factor(size, FactorKind.PARALLEL)
        if self.structured.parallel[loop]:
            self._because("a parallel loop writes one element several times")
            return Factor(size, FactorKind.BLOCKED)
        combiners = tuple(
            combiner if lacks else None for combiner, lacks in zip(self.structured.combiners, lacking, strict=True)
        )
        if any(lacks and combiner is None for combiner, lacks in zip(combiners, lacking, strict=True)):
            self._because("the reduction's combiner is not one that partial results can be combined with")
            return Factor(size, FactorKind.BLOCKED)
        return Factor(size, FactorKind.REDUCTION, combiners)

    def _block_windows(self) -> None:
        """Of loops that share a dimension (`d_i * s + d_j`) the longest may be split, unless a tensor has it twice."""
        for number, exprs in enumerate(self.maps):
            self._block_repeated([loop for expr in exprs if expr is not None for loop, _ in expr.terms])
            for dim, expr in enumerate(exprs):
                if expr is not None and expr.loop is None and expr.terms:
                    self._window(number, dim, expr)
            if any(expr is None for expr in exprs):
                self._block_all("an indexing map is not linear")
        for extract in self.structured.extracts:
            self._block_repeated([loop for loop in extract.loops if loop is not None])
        if any(len(inner.regions) for inner in region_ops(self.structured.op)):
            self._block_all("the region has control flow")

    def _window(self, number: int, dim: int, expr: LinearExpr) -> None:
        """A dimension that several loops address together."""
        sizes = self.structured.sizes
        long = max(expr.terms, key=lambda term: sizes[term[0]])[0]
        readable = number < self.structured.inputs and expr.constant >= 0 and all(step > 0 for _, step in expr.terms)
        for loop, _ in expr.terms:
            if loop != long or not readable or sizes[loop] < 2:
                self._block(loop, "" if readable else "a window slides over the dimension")
        if self.factors[long].kind is FactorKind.BLOCKED:
            return
        reach = 1 + expr.constant + sum(step * (sizes[loop] - 1) for loop, step in expr.terms if loop != long)
        operand = sum(is_tensor(value) for value in self.structured.operands[:number])
        extent = shape_of(self.structured.operands[number])[dim]
        window = Window(operand, dim, extent, sizes[long], dict(expr.terms)[long], 0, reach)
        self.factors[long] = replace(self.factors[long], windows=(*self.factors[long].windows, window))
        self.windowed[number, dim] = long

    def _block_repeated(self, loops: list[int]) -> None:
        for loop in loops:
            if loops.count(loop) > 1:
                self._block(loop, "a loop addresses two dimensions of one tensor (diagonal)")

    def _block_all(self, reason: str) -> None:
        for loop in range(len(self.factors)):
            self._block(loop, reason)

    def _block(self, loop: int, reason: str) -> None:
        if self.factors[loop].size != 1 and reason:
            self._because(reason)
        self.factors[loop] = Factor(self.factors[loop].size, FactorKind.BLOCKED)

    def _without_single(self, expr: LinearExpr | None, size: int) -> LinearExpr | None:
        """A loop of size 1 is always at 0: the window of a 1×1 convolution is no window."""
        if expr is None or expr.loop is not None:
            return expr
        sizes = self.structured.sizes
        plain = LinearExpr(tuple((loop, factor) for loop, factor in expr.terms if sizes[loop] != 1), expr.constant)
        return plain if plain.loop is not None and sizes[plain.loop] == size else expr

    def _because(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)

    def _whole(self, size: int) -> tuple[int, ...]:
        """A dimension that no loop owns: a blocked factor of its own, none for size 1."""
        if size == 1:
            return ()
        self.factors.append(Factor(size, FactorKind.BLOCKED))
        return (len(self.factors) - 1,)

    def _map_dims(self, number: int, exprs: tuple[LinearExpr | None, ...], shape: tuple[int, ...]) -> Dims:
        return tuple(
            (expr.loop,) if expr is not None and expr.loop is not None else self._addressed(number, dim, size)
            for dim, (expr, size) in enumerate(zip(exprs, shape, strict=True))
        )

    def _addressed(self, number: int, dim: int, size: int) -> tuple[int, ...]:
        """A dimension that no loop owns: that of the loop that slides over it, if it may be split."""
        loop = self.windowed.get((number, dim))
        return self._whole(size) if loop is None or not self.factors[loop].windows else (loop,)

    def _table_dims(self, table: ir.Value) -> Dims:
        reads = [extract for extract in self.structured.extracts if extract.table == table]
        return tuple(self._table_dim(reads, number, size) for number, size in enumerate(shape_of(table)))

    def _table_dim(self, reads: list[Extract], number: int, size: int) -> tuple[int, ...]:
        if size == 1:
            return ()
        loops = {extract.loops[number] for extract in reads}
        loop = next(iter(loops))
        if len(loops) == 1 and loop is not None and self.structured.sizes[loop] == size:
            return (loop,)
        if len(reads) == 1 and loop is None and self._is_gather(reads[0]):
            combiner = Combiner.OR if element_of(reads[0].table) == "i1" else Combiner.ADD
            self.factors.append(Factor(size, FactorKind.INDEXED, (combiner,)))
            return (len(self.factors) - 1,)
        self._because("a table is read by computed indices")
        return self._whole(size)

    def _is_gather(self, read: Extract) -> bool:
        """Whether the op does nothing but yield what it reads, so that a zero elsewhere is a summand of its result."""
        return read.yielded and all(self.structured.parallel) and len(self.result_maps) == 1
