"""Shardings in the IR: the `jogak.sharding` attributes of arguments, ops and results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ir.diagnostics import fail, source_location, warn
from jogak.ir.structured import shape_of
from jogak.sharding.constraints import Seed, settle
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import Reading, argument_attributes, argument_names, result_attributes
from jogak.sharding.request import Request
from jogak.sharding.rule import OpShardingRule
from jogak.sharding.selection import Argument
from jogak.sharding.sharding import Sharding
from jogak.sharding.strategy import Strategy

SHARDING = "jogak.sharding"
FACTORS = "jogak.factors"
CONSTRAINT = "jogak.constraint"
SOURCE = "jogak.constraint_source"


def read_arguments(function: ir.Operation) -> list[Argument]:
    """Names, roles and shapes of `@main`'s arguments, for constraints to match."""
    arguments = []
    names = argument_names(function)
    block = function.regions[0].blocks[0]
    for value, name, attributes in zip(block.arguments, names, argument_attributes(function), strict=True):
        role = ir.StringAttr(attributes["jogak.role"]).value if "jogak.role" in attributes else "input"
        shape = shape_of(value)
        logical = shape
        if "jogak.logical_shape" in attributes:
            logical = tuple(ir.DenseI64ArrayAttr(attributes["jogak.logical_shape"]))
        shares: tuple[tuple[int, ...], ...] = ()
        if "jogak.shares" in attributes:
            shares = tuple(tuple(ir.DenseI64ArrayAttr(sizes)) for sizes in ir.ArrayAttr(attributes["jogak.shares"]))
        arguments.append(Argument(name, role, shape, logical, shares))
    return arguments


def write_constraints(function: ir.Operation, seeds: Iterable[Seed], reading: Reading | None = None) -> None:
    """Put resolved constraints on arguments and ops, where `jogak-propagate`, the search and people read them.

    Args:
        reading: the program; needed where a constraint is on the result of an op.
    """
    given: dict[int, list[Seed]] = {}
    for seed in seeds:
        given.setdefault(seed.value, []).append(seed)
    count = len(function.regions[0].blocks[0].arguments)
    with function.context:
        present = argument_attributes(function)
        added = [
            {} if number not in given else _written(_constraints_of(present[number]), given[number], "")
            for number in range(count)
        ]
        extend_attributes(function, "arg_attrs", added)
        for value in sorted(given.keys() - set(range(count))):
            assert reading is not None, "the program was read to find the value"
            node = reading.graph.nodes[reading.graph.values[value].producer or 0]
            op, result = reading.ops[node.index], node.results.index(value)
            prefix = f"#{result} " if result else ""
            for name, attribute in _written(_constraints_of(op.attributes), given[value], prefix).items():
                op.attributes[name] = attribute


def _constraints_of(attributes: ir.DictAttr | ir.OpAttributeMap) -> dict[str, ir.Attribute]:
    return {name: attributes[name] for name in (CONSTRAINT, SOURCE) if name in attributes}


def _written(present: Mapping[str, ir.Attribute], seeds: Sequence[Seed], prefix: str) -> dict[str, ir.Attribute]:
    """The attributes with constraints added behind those that are there, which they may replace."""
    texts = [*texts_of(present, CONSTRAINT), *(f"{prefix}{seed.request}" for seed in seeds)]
    known = texts_of(present, SOURCE)
    known += [""] * (len(texts) - len(seeds) - len(known))
    sources = [*known, *(seed.source for seed in seeds)]
    return {CONSTRAINT: texts_attribute(texts), SOURCE: texts_attribute(sources)}


def texts_attribute(texts: Sequence[str]) -> ir.Attribute:
    """One string, or an array of several."""
    made = [ir.StringAttr.get(text) for text in texts]
    return made[0] if len(made) == 1 else ir.ArrayAttr.get(made)


def texts_of(attributes: Mapping[str, ir.Attribute], name: str) -> list[str]:
    """The strings of an attribute that is one string or an array of them."""
    if name not in attributes:
        return []
    attribute = attributes[name]
    each = [attribute] if isinstance(attribute, ir.StringAttr) else list(ir.ArrayAttr(attribute))
    return [str(ir.StringAttr(text).value) for text in each]


_NO_EFFECT = "a constraint on a value that every device makes for itself has no effect"
_REMOVE = "remove it"


def read_constraints(function: ir.Operation, reading: Reading, mesh: Mesh) -> list[Seed]:
    """The constraints in the IR: `jogak.constraint` on arguments and results of `@main` and on ops.

    It is a request, or an array of them; one that begins with `#1` is on the second result of an op. One on a result of
    `@main` is on the value that is returned.

    Raises:
        PassFailed: one does not fit its value or the mesh.
    """
    seeds: list[Seed] = []
    known = set(reading.ops)
    block = function.regions[0].blocks[0]
    for argument, attributes in zip(block.arguments, argument_attributes(function), strict=True):
        seeds += _seeds(function, _constraints_of(attributes), [argument], "constraint in the IR", reading, mesh)
    for op in reading.ops:
        if CONSTRAINT in op.attributes:
            place = f"constraint at {source_location(op.location)}"
            seeds += _seeds(op, _constraints_of(op.attributes), list(op.results), place, reading, mesh)
    operations = [view.operation for view in block.operations]
    for op in operations:
        if CONSTRAINT in op.attributes and op not in known:
            warn(op, _NO_EFFECT, hint=_REMOVE)
    returned = list(operations[-1].operands)
    for value, attributes in zip(returned, result_attributes(function), strict=True):
        given = _constraints_of(attributes)
        if given and value not in reading.values:
            warn(operations[-1], _NO_EFFECT, hint=_REMOVE)
        elif given:
            seeds += _seeds(function, given, [value], "constraint on a result", reading, mesh)
    return settle(seeds)


def axes_of_constraints(function: ir.Operation, reading: Reading) -> list[str]:
    """The axes that the constraints in the IR name. One that cannot be read names none here."""
    given = [
        *map(_constraints_of, argument_attributes(function)),
        *(_constraints_of(op.attributes) for op in reading.ops),
        *map(_constraints_of, result_attributes(function)),
    ]
    found: list[str] = []
    for text in (text for attributes in given for text in texts_of(attributes, CONSTRAINT)):
        with suppress(JogakError):
            found += Request.parse(text.partition(" ")[2] if text.startswith("#") else text).axes()
    return found


def _seeds(
    op: ir.Operation,
    attributes: Mapping[str, ir.Attribute],
    values: Sequence[ir.Value],
    place: str,
    reading: Reading,
    mesh: Mesh,
) -> Iterator[Seed]:
    sources = texts_of(attributes, SOURCE)
    for number, text in enumerate(texts_of(attributes, CONSTRAINT)):
        source = (sources[number] if number < len(sources) else "") or place
        try:
            value, request = _request(text, values, mesh)
        except JogakError as error:
            fail(op, error.message, hint=error.hint)
        dims = request.spread(len(shape_of(value)))
        yield Seed(
            reading.values[value], dims, request.priority, source, request.somewhere, request.replicated,
            request.group, request.barrier, request.places,
        )  # fmt: skip


def _request(text: str, values: Sequence[ir.Value], mesh: Mesh) -> tuple[ir.Value, Request]:
    """The value that a constraint is on, and what it asks, checked against both."""
    number = 0
    if text.startswith("#"):
        written, _, text = text[1:].partition(" ")
        number = int(written) if written.isdigit() else -1
    if not 0 <= number < len(values):
        raise JogakError(f"there is no result #{number}", hint=f"the op has {len(values)} results, from #0")
    request, value = Request.parse(text).on(mesh), values[number]
    request.check(mesh)
    shape = shape_of(value)
    if not request.fits(len(shape)):
        raise JogakError(f"{request} has {len(request.dims or ())} dimensions, the value has {len(shape)}")
    Sharding(tuple(dim.axes for dim in request.spread(len(shape)))).local_shape(shape, mesh)
    return value, request


def annotate(function: ir.Operation, reading: Reading, shardings: Sequence[Sharding], mesh: Mesh) -> None:
    """Write the sharding of every value: on the function's arguments and results, and on ops (an entry per result)."""
    texts = {sharding: str(sharding.told(mesh)) for sharding in dict.fromkeys(shardings)}
    written = [texts[sharding] for sharding in shardings]
    with function.context:
        made: dict[tuple[str, ...], ir.Attribute] = {}
        for op, node in zip(reading.ops, reading.graph.nodes, strict=True):
            own = tuple([written[value] for value in node.results])
            if own not in made:
                made[own] = ir.ArrayAttr.get([ir.StringAttr.get(text) for text in own])
            op.attributes[SHARDING] = made[own]
        block = function.regions[0].blocks[0]
        given = [{SHARDING: ir.StringAttr.get(written[reading.values[argument]])} for argument in block.arguments]
        extend_attributes(function, "arg_attrs", given)
        returned = [
            reading.graph.arguments[reading.graph.updates[position]] if position in reading.graph.updates else value
            for position, value in enumerate(reading.graph.results)
        ]
        kept = [{SHARDING: ir.StringAttr.get(written[value])} if value is not None else {} for value in returned]
        extend_attributes(function, "res_attrs", kept)


def extend_attributes(function: ir.Operation, kind: str, added: Sequence[Mapping[str, ir.Attribute]]) -> None:
    """Add entries to the attribute dictionaries of a function's arguments (`arg_attrs`) or results (`res_attrs`)."""
    present = argument_attributes(function) if kind == "arg_attrs" else result_attributes(function)
    merged = [
        ir.DictAttr.get({**{entry.name: entry.attr for entry in old}, **new})
        for old, new in zip(present, added, strict=True)
    ]
    function.attributes[kind] = ir.ArrayAttr.get(merged)


def read_shardings(function: ir.Operation, reading: Reading, mesh: Mesh) -> list[Sharding]:
    """The sharding of every value of the graph, from the annotations.

    Raises:
        PassFailed: an op has no annotation, or one that does not fit its result or the mesh.
    """
    found = [Sharding.replicated(len(value.shape)) for value in reading.graph.values]
    block = function.regions[0].blocks[0]
    for argument, attributes in zip(block.arguments, argument_attributes(function), strict=True):
        if SHARDING in attributes:
            text = ir.StringAttr(attributes[SHARDING]).value
            number = reading.values[argument]
            found[number] = _parsed(function, text, reading.graph.values[number].shape, mesh)
            if found[number].is_partial:
                fail(function, f"an argument cannot be a partial result: {text}", hint="leave out partial(...)")
    known: dict[tuple[ir.Attribute, tuple[tuple[int, ...], ...]], list[Sharding]] = {}
    for op, node in zip(reading.ops, reading.graph.nodes, strict=True):
        if SHARDING not in op.attributes:
            fail(op, f"{op.name} has no sharding", hint="run jogak-propagate before this pass")
        key = op.attributes[SHARDING], tuple([reading.graph.values[value].shape for value in node.results])
        if key not in known:
            known[key] = _read_results(op, *key, mesh)
        for value, sharding in zip(node.results, known[key], strict=True):
            found[value] = sharding
    return found


def _read_results(
    op: ir.Operation, attribute: ir.Attribute, shapes: Sequence[tuple[int, ...]], mesh: Mesh
) -> list[Sharding]:
    texts = [ir.StringAttr(text).value for text in ir.ArrayAttr(attribute)]
    if len(texts) != len(shapes):
        fail(op, f"{len(texts)} shardings for {len(shapes)} results", hint="one entry for every tensor result")
    return [_parsed(op, text, shape, mesh) for shape, text in zip(shapes, texts, strict=True)]


def _parsed(op: ir.Operation, text: str, shape: tuple[int, ...], mesh: Mesh) -> Sharding:
    try:
        sharding = Sharding.parse(text).on(mesh)
        sharding.check(mesh)
        if sharding.rank != len(shape):
            raise JogakError(f"{text} has {sharding.rank} dimensions, the value has {len(shape)}")
        sharding.local_shape(shape, mesh)
    except JogakError as error:
        fail(op, error.message, hint=error.hint)
    return sharding


def write_strategies(reading: Reading, strategies: Sequence[Strategy], mesh: Mesh) -> None:
    """Write on every op how it is done, for `jogak-partition` to follow."""
    for op, strategy in zip(reading.ops, strategies, strict=True):
        with op.context:
            op.attributes[FACTORS] = ir.StringAttr.get(strategy.told(mesh))


def read_strategy(op: ir.Operation, rule: OpShardingRule, mesh: Mesh) -> Strategy | None:
    """How an op is to be done; None where it does not say so.

    Raises:
        PassFailed: what it says does not fit the op or the mesh.
    """
    if FACTORS not in op.attributes:
        return None
    try:
        return Strategy.parse(str(ir.StringAttr(op.attributes[FACTORS]).value), rule, mesh)
    except JogakError as error:
        fail(op, error.message, hint=error.hint or "run jogak-search again, or remove jogak.factors")
