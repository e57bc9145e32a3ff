"""Fuses elementwise producers into their consumers, one walk in program order.

MLIR's own `linalg-fuse-elementwise-ops` fuses whatever has one use, also into contractions, where it is computed again
for every row and hides the contraction. Here a producer goes into a consumer when nothing is computed twice: it only
moves data (a transpose, a broadcast, an index), or every use of it is in this consumer, which reads every element once
or broadcasts it in an elementwise operation. What compares an index with something smaller than itself, as in "is this
the target's class?", goes into every such consumer: to compare again costs less than to read what was compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch_mlir import ir

from jogak.ir.rewrite import build
from jogak.ir.rewrite.splats import splat_scalar

_FREE_OPS = {"linalg.yield", "linalg.index", "arith.index_cast", "arith.constant"}
_LARGEST_INDEX_BODY = 8


@dataclass
class Producer:
    """What is known of a `linalg.generic` as a producer.

    Attributes:
        op: the operation.
        maps: its indexing maps.
        order: for each loop the dimension of the result that it is, when fusible.
        parallel: all its loops are parallel.
        elementwise: it is fusible: parallel, one result that each loop addresses, no init, no table.
        moves: it computes nothing from tensors: it can be repeated for free.
        masks: it compares an index, computes little else, and all that it reads is smaller than its result.
        integer: it yields an integer.
        table: it reads a captured tensor.
    """

    op: ir.Operation
    maps: list[ir.AffineMap]
    order: list[int]
    parallel: bool
    elementwise: bool
    moves: bool
    masks: bool
    integer: bool
    table: bool


def _result_order(m: ir.AffineMap) -> list[int] | None:
    """For each loop its position in the results of the map, when that is a permutation."""
    if len(m.results) != m.n_dims:
        return None
    order = [-1] * m.n_dims
    for position, expression in enumerate(m.results):
        if not isinstance(expression, ir.AffineDimExpr):
            return None
        order[expression.position] = position
    return None if -1 in order else order


def describe(op: ir.Operation) -> Producer:
    """Read a `linalg.generic`."""
    maps = build.indexing_maps(op)
    inputs = build.input_count(op)
    body = build.body_of(op)
    order = _result_order(maps[-1]) if len(op.results) == 1 else None
    init = op.regions[0].blocks[0].arguments[inputs]
    table = any(inner.name == "tensor.extract" for inner in body)
    parallel = build.is_parallel(op)
    elementwise = parallel and order is not None and not table and not build.is_used(init)
    moves = elementwise and (
        len(body) == 1
        or (inputs == 0 and len(body) <= _LARGEST_INDEX_BODY)
        or all(inner.name in _FREE_OPS for inner in body)
    )
    integer = isinstance(op.results[0].type.element_type, ir.IntegerType)
    masks = elementwise and _masks(op, maps)
    return Producer(op, maps, order or [], parallel, elementwise, moves, masks, integer, table)


def _masks(op: ir.Operation, maps: Sequence[ir.AffineMap]) -> bool:
    """Whether an elementwise op compares an index, computes little else, and reads only what lacks a dimension."""
    names = [inner.name for inner in build.body_of(op)]
    little = len(names) <= _LARGEST_INDEX_BODY and all(n in _FREE_OPS or n.startswith("arith.") for n in names)
    smaller = all(len(m.results) < m.n_dims for m in maps[:-1])
    return little and smaller and {"linalg.index", "arith.cmpi"} <= set(names)


@dataclass
class Leaf:
    """A tensor that the fused operation reads through `map`; `inner` is what computes it when that is fused too."""

    value: ir.Value
    map: ir.AffineMap
    inner: Node | None = None
    scalar: ir.Value | ir.Attribute | None = None


@dataclass
class Node:
    """A producer (or the consumer itself) with its inputs.

    Attributes:
        producer: the operation.
        inputs: what it reads.
        indices: what each of its loops is in the fused loops.
        done: what it yields, once it is built.
    """

    producer: Producer
    inputs: list[Leaf]
    indices: list[ir.AffineExpr]
    done: list[ir.Value] = field(default_factory=list)


@dataclass
class Cluster:
    """A consumer and the producers that go into it.

    Attributes:
        root: the consumer.
        members: the operations inside.
        leaves: what is read, fused or not.
    """

    root: Node
    members: dict[ir.Operation, None]
    leaves: list[Leaf]


def fuse_elementwise(function: ir.Operation) -> int:
    """Fuse all elementwise producers of `function` that can be; return how many operations disappeared."""
    known: dict[ir.Operation, Producer] = {}
    fused = 0
    for op in build.top_level(function):
        if op.name != "linalg.generic":
            continue
        cluster = _grow(describe(op), known)
        if all(leaf.inner is None and leaf.scalar is None for leaf in cluster.leaves):
            known[op] = cluster.root.producer
            continue
        new = _materialize(cluster)
        fused += _erase_unused(list(cluster.members), known)
        known[new.op] = new
    return fused


def _erase_unused(ops: Sequence[ir.Operation], known: dict[ir.Operation, Producer]) -> int:
    """Erase what nothing uses any more; a use that remains would keep a producer from being fused elsewhere."""
    kept = [op for op in ops if any(build.is_used(result) for result in op.results)]
    gone = [op for op in ops if op not in kept]
    for op in gone:
        known.pop(op, None)
        op.erase()
    return len(gone) + (_erase_unused(kept, known) if gone and kept else 0)


def _grow(consumer: Producer, known: dict[ir.Operation, Producer]) -> Cluster:
    """Take in producers until none fits any more."""
    op = consumer.op
    inputs = build.input_count(op)
    leaves = [Leaf(v, m) for v, m in zip(list(op.operands)[:inputs], consumer.maps, strict=False)]
    loops = [ir.AffineExpr.get_dim(d) for d in range(consumer.maps[0].n_dims)]
    cluster = Cluster(Node(consumer, leaves, loops), {op: None}, list(leaves))
    shared: dict[tuple[ir.Value, ir.AffineMap], Node] = {}
    changed = True
    while changed:
        changed = False
        for leaf in list(cluster.leaves):
            changed |= _take(cluster, leaf, known, shared)
    return cluster


def _take(
    cluster: Cluster,
    leaf: Leaf,
    known: dict[ir.Operation, Producer],
    shared: dict[tuple[ir.Value, ir.AffineMap], Node],
) -> bool:
    """Fuse what computes `leaf` if that is allowed; return whether anything changed."""
    if leaf.inner is not None or leaf.scalar is not None or isinstance(leaf.value.owner, ir.Block):
        return False
    scalar = splat_scalar(leaf.value)
    if scalar is not None:
        leaf.scalar = scalar
        if _covers_loops(cluster):
            return True
        leaf.scalar = None
        return False
    producer = known.get(leaf.value.owner.operation)
    if producer is None or "jogak.constraint" in producer.op.attributes or not _fits(cluster, leaf, producer):
        return False  # a value of which a sharding is asked stays a value
    key = (leaf.value, leaf.map)
    if key in shared:
        leaf.inner = shared[key]
        return True
    node = leaf.inner = _node(producer, leaf.map)
    if not _covers_loops(cluster, node.inputs):
        leaf.inner = None
        return False
    shared[key] = node
    cluster.members[producer.op] = None
    cluster.leaves += node.inputs
    return True


def _node(producer: Producer, m: ir.AffineMap) -> Node:
    """The producer as it is inside the fused operation, where its result is read through `m`."""
    indices = [m.results[position] for position in producer.order]
    renaming = ir.AffineMap.get(m.n_dims, 0, indices)
    inputs = build.input_count(producer.op)
    leaves = [
        Leaf(value, ir.AffineMap.get(m.n_dims, 0, [e.compose(renaming) for e in own.results]))
        for value, own in zip(list(producer.op.operands)[:inputs], producer.maps, strict=False)
    ]
    return Node(producer, leaves, indices)


def _fits(cluster: Cluster, leaf: Leaf, producer: Producer) -> bool:
    if not producer.elementwise:
        return False
    pure = all(isinstance(e, ir.AffineDimExpr) for e in leaf.map.results)
    if producer.moves:
        return pure or len(build.body_of(producer.op)) == 1
    if cluster.root.producer.table and not producer.integer:
        return False
    if not pure or not (cluster.root.producer.parallel or len(leaf.map.results) == leaf.map.n_dims):
        return False
    return producer.masks or not any(use.owner.operation not in cluster.members for use in leaf.value.uses)


def _covers_loops(cluster: Cluster, extra: Sequence[Leaf] = ()) -> bool:
    """Whether every loop of the fused operation is a dimension of something it still reads or writes."""
    root = cluster.root.producer
    maps = [leaf.map for leaf in (*cluster.leaves, *extra) if leaf.inner is None and leaf.scalar is None]
    maps += root.maps[build.input_count(root.op) :]
    loops: set[int] = {e.position for m in maps for e in m.results if isinstance(e, ir.AffineDimExpr)}
    count: int = root.maps[0].n_dims
    return len(loops) == count


def _materialize(cluster: Cluster) -> Producer:
    """Build the fused operation in place of the consumer."""
    root = cluster.root.producer
    old = root.op
    inputs = build.input_count(old)
    read: dict[tuple[ir.Value, ir.AffineMap], int] = {}
    for leaf in cluster.leaves:
        if leaf.inner is None and leaf.scalar is None:
            read.setdefault((leaf.value, leaf.map), len(read))
    inits = list(old.operands)[inputs:]
    maps = [*(m for _, m in read), *root.maps[inputs:]]
    fused, block = build.generic(
        [value for value, _ in read], inits, maps, old.attributes["iterator_types"],
        ip=ir.InsertionPoint(old), loc=old.location,
    )  # fmt: skip
    build.keep_attributes(old, fused)
    arguments = {key: block.arguments[number] for key, number in read.items()}
    for number in range(len(inits)):
        old.regions[0].blocks[0].arguments[inputs + number].replace_all_uses_with(block.arguments[len(read) + number])
    _inline(cluster.root, block, arguments, root=True)
    for before, after in zip(old.results, fused.results, strict=True):
        before.replace_all_uses_with(after)
    if not read:
        return describe(fused)
    moves = root.moves and all(leaf.inner.producer.moves for leaf in cluster.leaves if leaf.inner is not None)
    masks = root.elementwise and _masks(fused, maps)
    return replace(root, op=fused, maps=maps, moves=moves, masks=masks)


Arguments = dict[tuple[ir.Value, ir.AffineMap], ir.Value]


def _inline(node: Node, block: ir.Block, arguments: Arguments, *, root: bool = False) -> list[ir.Value]:
    """Put the body of `node` after those of its producers at the end of `block`; return what it yields."""
    if node.done:
        return node.done
    values = [_leaf_value(leaf, block, arguments) for leaf in node.inputs]
    op = node.producer.op
    body = op.regions[0].blocks[0]
    replaced: dict[ir.Value, ir.Value] = dict(zip(body.arguments, values, strict=False))
    for inner in build.body_of(op):
        if inner.name == "linalg.yield" and not root:
            node.done = [replaced.get(value, value) for value in inner.operands]
            break
        copy = _index(inner, node.indices, block) or inner.clone(ip=ir.InsertionPoint(block))
        for number, value in enumerate(inner.operands):
            if value in replaced:
                copy.operands[number] = replaced[value]
        replaced.update(zip(inner.results, copy.results, strict=True))
    return node.done


def _index(inner: ir.Operation, indices: Sequence[ir.AffineExpr], block: ir.Block) -> ir.Operation | None:
    """The index of a producer's loop, as an index of the fused loops; None when `inner` is another operation."""
    if inner.name != "linalg.index":
        return None
    loop = indices[int(inner.attributes["dim"].value)]
    dim = {"dim": ir.IntegerAttr.get(ir.IntegerType.get_signless(64), loop.position)}
    ip = ir.InsertionPoint(block)
    return ir.Operation.create("linalg.index", [inner.results[0].type], [], dim, ip=ip, loc=inner.location)


def _leaf_value(leaf: Leaf, block: ir.Block, arguments: Arguments) -> ir.Value:
    if leaf.inner is not None:
        return _inline(leaf.inner, block, arguments)[0]
    if leaf.scalar is None:
        return arguments[leaf.value, leaf.map]
    if isinstance(leaf.scalar, ir.Value):
        return leaf.scalar
    return build.constant(leaf.scalar, ip=ir.InsertionPoint(block), loc=leaf.value.owner.location)
