"""Emitting what a per-device program has beyond the whole one: collectives and positions on the mesh."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir
from torch_mlir.dialects import arith, shard, tensor

from jogak.ir.build import bordered, index_constant, leading, padded, tensor_type
from jogak.ir.grid import GRID, axis_array
from jogak.ir.structured import shape_of
from jogak.sharding.mesh import Mesh
from jogak.sharding.permute import Renumbering
from jogak.sharding.rules.tensor import DYNAMIC
from jogak.sharding.sharding import Combiner
from jogak.sharding.steps import Step, StepKind
from jogak.sharding.windows import Exchange

Margins = tuple[int, int]
"""Widths of the margins in front of a piece and behind it."""


class FinerGrid(Exception):
    """A collective needs sub-axes that the grid does not have.

    Attributes:
        mesh: a mesh that has them.
    """

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh.detailed())
        self.mesh = mesh


class Emitter:
    """Emits into one function; positions on the mesh are computed once, at its top.

    Axes may be sub-axes of those of the mesh as well, or have been taken apart in it.

    Attributes:
        mesh: whose axes are those of `shard.grid`.
    """

    def __init__(self, block: ir.Block, mesh: Mesh) -> None:
        self.block = block
        self.mesh = mesh
        self._position: list[ir.Value] | None = None
        self._last: ir.Operation | None = None
        self._offsets: dict[tuple[tuple[str, ...], int], ir.Value] = {}
        self._bounds: dict[tuple[tuple[str, ...], int, int], ir.Value] = {}
        self._places: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, ir.Value]] = {}
        self._first: dict[tuple[str, ...], ir.Value] = {}

    def step(self, value: ir.Value, step: Step, shape: Sequence[int], cause: str) -> ir.Value:
        """One collective on a local value, at the insertion point, with padding added before and cut off behind it.

        Args:
            shape: the local shape that it leaves.
            cause: why it is there, for people; kept as `jogak.cause`.
        """
        grid = ir.FlatSymbolRefAttr.get(GRID)
        axes = ir.DenseI16ArrayAttr.get([self.mesh.index(axis) for axis in self._known(step.axes)])
        value = padded(value, self._brought(shape_of(value), step, shape))
        type_ = tensor_type(self._left(shape_of(value), step), ir.RankedTensorType(value.type).element_type)
        op: ir.OpView
        match step.kind:
            case StepKind.ALL_SLICE:
                op = shard.AllSliceOp(type_, grid, value, step.dim, grid_axes=axes)
            case StepKind.ALL_GATHER:
                op = shard.AllGatherOp(type_, grid, value, step.dim, grid_axes=axes)
            case StepKind.ALL_TO_ALL:
                op = shard.AllToAllOp(type_, grid, value, step.split, step.dim, grid_axes=axes)
            case StepKind.ALL_REDUCE:
                op = shard.AllReduceOp(type_, grid, value, grid_axes=axes, reduction=_reduction(step.combiner))
            case StepKind.REDUCE_SCATTER:
                kind = _reduction(step.combiner)
                op = shard.ReduceScatterOp(type_, grid, value, step.dim, grid_axes=axes, reduction=kind)
            case StepKind.PERMUTE:
                op = self._permute(value, step, grid, axes)
        op.operation.attributes["jogak.cause"] = ir.StringAttr.get(cause)
        return leading(op.operation.results[0], shape)

    def _permute(
        self, value: ir.Value, step: Step, grid: ir.FlatSymbolRefAttr, axes: ir.DenseI16ArrayAttr
    ) -> shard.RecvOp:
        """Send the piece to the device that needs it next, and receive from the one that has what this one needs."""
        there = tuple((self._known(before), self._known(after)) for before, after in step.exchange)
        back = tuple((after, before) for before, after in there)
        grid_axes = self._known(step.axes)
        source, destination = self._peer(grid_axes, back), self._peer(grid_axes, there)
        dynamic = [DYNAMIC] * len(grid_axes)
        sent = shard.SendOp(value.type, grid, value, dynamic, destination, grid_axes=axes).result
        return shard.RecvOp(value.type, grid, sent, source, source=dynamic, grid_axes=axes)

    def _peer(self, axes: tuple[str, ...], exchange: Renumbering) -> list[ir.Value]:
        """The place along `axes` of the device whose numbers along the second axes are this one's along the first."""
        place: dict[str, ir.Value] = {}
        for mine, theirs in exchange:
            sizes = [[self.mesh.sizes[axis] for axis in each] for each in (mine, theirs)]
            for own, other in zip(mine, theirs, strict=False):
                if sizes[0] == sizes[1]:
                    place[other] = self._coordinate(own)
            if sizes[0] != sizes[1]:
                place |= self._digits(mine, theirs)
        return [place[axis] for axis in axes]

    def _coordinate(self, axis: str) -> ir.Value:
        with self._at_top():
            return self._linear((axis,))

    def _digits(self, mine: tuple[str, ...], theirs: tuple[str, ...]) -> dict[str, ir.Value]:
        """This device's number along some axes, as a place along others that make as many pieces."""
        key = (mine, theirs)
        if key not in self._places:
            with self._at_top():
                linear = self._linear(mine)
                place: dict[str, ir.Value] = {}
                for axis in reversed(theirs):
                    size = index_constant(self.mesh.sizes[axis])
                    place[axis] = arith.RemUIOp(linear, size).result
                    linear = arith.DivUIOp(linear, size).result
                self._last = linear.owner
            self._places[key] = place
        return self._places[key]

    def _brought(self, before: Sequence[int], step: Step, after: Sequence[int]) -> list[int]:
        """The shape that a collective needs: the dimension that it cuts has as much as all pieces together."""
        needed = list(before)
        cut = _cut(step)
        if cut is not None:
            needed[cut] = after[cut] * self.mesh.size(step.axes)
        return needed

    def _left(self, before: Sequence[int], step: Step) -> list[int]:
        """The shape that a collective leaves, padding included."""
        left = list(before)
        parts = self.mesh.size(step.axes)
        if step.kind in (StepKind.ALL_GATHER, StepKind.ALL_TO_ALL):
            left[step.dim] *= parts
        cut = _cut(step)
        if cut is not None:
            left[cut] //= parts
        return left

    def window(self, value: ir.Value, dim: int, axes: tuple[str, ...], read: Exchange, held: Margins) -> ir.Value:
        """What a device reads along a split dimension.

        Args:
            value: its piece, or its piece with margins from the neighbours.
            held: how wide these margins are; at least as wide as what is read of them.
        """
        low, high = held
        before, behind = max(read.before, low), max(read.behind, high)
        value = _widened(value, dim, before - low, behind - high)
        shape = shape_of(value)
        last = shape[dim] - read.width
        begin = index_constant(read.start + before - read.before)
        start = arith.AddIOp(self.offset(axes, read.step), begin).result
        start = arith.MinSIOp(arith.MaxSIOp(start, index_constant(0)).result, index_constant(last)).result
        sizes = [read.width if number == dim else size for number, size in enumerate(shape)]
        offsets = [DYNAMIC if number == dim else 0 for number in range(len(shape))]
        type_ = tensor_type(sizes, ir.RankedTensorType(value.type).element_type)
        return tensor.ExtractSliceOp(type_, value, [start], [], [], offsets, sizes, [1] * len(shape)).result

    def exchange(self, value: ir.Value, dim: int, axes: tuple[str, ...], margins: Margins) -> ir.Value:
        """A piece between margins from the neighbours."""
        value = _widened(value, dim, *margins)
        rank = len(shape_of(value))
        along = [self.mesh.index(axis) for axis in self._known(axes)]
        numbers = [along if number == dim else [] for number in range(rank)]
        split = axis_array(numbers)
        grid = ir.FlatSymbolRefAttr.get(GRID)
        op = shard.UpdateHaloOp(value.type, value, grid, split, [], static_halo_sizes=list(margins))
        op.operation.attributes["jogak.cause"] = ir.StringAttr.get("a window reaches into the neighbours' pieces")
        return op.operation.results[0]

    def offset(self, axes: tuple[str, ...], part: int) -> ir.Value:
        """Where this device's part of a dimension begins, when `axes` split it into parts of `part` elements."""
        if (axes, part) not in self._offsets:
            with self._at_top():
                linear = self._linear(axes)
                begin = arith.MulIOp(linear, index_constant(part)).result
                self._last = begin.owner
            self._offsets[axes, part] = begin
        return self._offsets[axes, part]

    def bound(self, axes: tuple[str, ...], part: int, size: int) -> ir.Value:
        """How many elements of a dimension of `size` begin at this device's part; maybe none, or more than a part."""
        if (axes, part, size) not in self._bounds:
            offset = self.offset(axes, part)
            with self._at_top():
                left = arith.SubIOp(index_constant(size), offset).result
                self._last = left.owner
            self._bounds[axes, part, size] = left
        return self._bounds[axes, part, size]

    def is_first(self, axes: tuple[str, ...]) -> ir.Value:
        """Whether this device is the first of its group over `axes` (an `i1`)."""
        if axes not in self._first:
            with self._at_top():
                first = arith.CmpIOp(arith.CmpIPredicate.eq, self._linear(axes), index_constant(0)).result
                self._last = first.owner
            self._first[axes] = first
        return self._first[axes]

    def _known(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        """The axes of the grid that these are.

        Raises:
            FinerGrid: some are parts of an axis of the grid.
        """
        known = self.mesh.expand(axes)
        if not all(axis in self.mesh.sizes for axis in known):
            raise FinerGrid(self.mesh.cut_for(known))
        return known

    def _at_top(self) -> ir.InsertionPoint:
        if self._position is None:
            with ir.InsertionPoint.at_block_begin(self.block), ir.Location.unknown():
                types = [ir.IndexType.get()] * len(self.mesh.axes)
                op = shard.ProcessMultiIndexOp(types, ir.FlatSymbolRefAttr.get(GRID))
                self._position = list(op.operation.results)
                self._last = op.operation
        return ir.InsertionPoint.after(self._last)

    def _linear(self, axes: tuple[str, ...]) -> ir.Value:
        """The number of this device within its group, the last axis counted fastest."""
        position = self._position or []
        axes = self._known(axes)
        linear = position[self.mesh.index(axes[0])]
        for axis in axes[1:]:
            scaled = arith.MulIOp(linear, index_constant(self.mesh.sizes[axis])).result
            linear = arith.AddIOp(scaled, position[self.mesh.index(axis)]).result
        return linear


def _widened(value: ir.Value, dim: int, low: int, high: int) -> ir.Value:
    if not low and not high:
        return value
    rank = len(shape_of(value))
    return bordered(value, *([width if number == dim else 0 for number in range(rank)] for width in (low, high)))


def _cut(step: Step) -> int | None:
    """The dimension that a collective cuts."""
    match step.kind:
        case StepKind.ALL_SLICE | StepKind.REDUCE_SCATTER:
            return step.dim
        case StepKind.ALL_TO_ALL:
            return step.split
        case _:
            return None


def _reduction(combiner: Combiner | None) -> ir.Attribute:
    return ir.Attribute.parse(f"#shard<partial {combiner or Combiner.ADD}>")
