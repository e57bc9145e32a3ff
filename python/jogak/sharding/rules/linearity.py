"""Through which operands partial sums may travel: where an op is linear in some of them, or uses only their sum.

Both are read from the region of a `linalg.generic`. A reshape is linear in its operand, and so is a slice.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from jogak.ir.barrier import BARRIER
from jogak.ir.structured import Structured, is_tensor
from jogak.sharding.sharding import Combiner

VIEWS = ("tensor.expand_shape", "tensor.collapse_shape")
_SLICE = "tensor.extract_slice"
_KEEPING = {"arith.negf", "arith.extf"}
_ADDING = {"arith.addf", "arith.subf"}


@dataclass(frozen=True)
class _Form:
    """How a region value depends on the op's inputs.

    Attributes:
        summed: inputs that it is linear in, all together: partial sums of all of them give a partial sum of it.
        other: inputs that it depends on in another way.
        constant: whether it depends on no input.
    """

    summed: frozenset[int] = frozenset()
    other: frozenset[int] = frozenset()

    @property
    def constant(self) -> bool:
        return not self.summed and not self.other

    def opaque(self) -> _Form:
        return _Form(frozenset(), self.summed | self.other)


@dataclass(frozen=True)
class Linearity:
    """What partial sums an op can take.

    Attributes:
        through: operands that may all be partial sums together; the result is then one, too. Empty when there are none.
        sums: groups of operands of which the op uses nothing but the sum.
    """

    through: tuple[int, ...] = ()
    sums: tuple[tuple[int, ...], ...] = ()


NOTHING = Linearity()


def linearity(op: ir.Operation) -> Linearity:
    """Read it from an op. Operand numbers count the tensor operands, as in the op's sharding rule."""
    if op.name in (*VIEWS, _SLICE, BARRIER):
        return Linearity(through=(0,))
    if op.name != "linalg.generic" or len(op.results) != 1:
        return NOTHING
    structured = Structured(op)
    inputs = structured.operands[: structured.inputs]
    if structured.captures or not all(map(is_tensor, inputs)):
        return NOTHING
    forms = _forms(structured)
    yielded = forms[list(structured.body.operations)[-1].operands[0]]
    result = structured.inputs
    if not yielded.other and yielded.summed:
        rest = yielded.summed - {result}
        reducing = not all(structured.parallel)
        if rest and (not reducing or structured.combiners == (Combiner.ADD,)) and (reducing or rest == yielded.summed):
            return Linearity(through=tuple(sorted(rest)))
    return Linearity(sums=_sums(structured, forms))


def _forms(structured: Structured) -> dict[ir.Value, _Form]:
    """The form of every float value of the region; the accumulator counts as one more input."""
    forms: dict[ir.Value, _Form] = {}
    for number, argument in enumerate(structured.body.arguments):
        isfloat = isinstance(argument.type, ir.FloatType)
        single = frozenset([number])
        forms[argument] = _Form(single) if isfloat else _Form(frozenset(), single)
    for view in structured.body.operations:
        op = view.operation
        if len(op.results) == 1:
            forms[op.results[0]] = _form(op.name, [forms.get(operand, _Form()) for operand in op.operands])
    return forms


def _form(name: str, operands: list[_Form]) -> _Form:
    if name in _KEEPING:
        return operands[0]
    if name in _ADDING and not any(form.constant or form.other for form in operands):
        return _Form(operands[0].summed | operands[1].summed)
    if name == "arith.mulf" and any(form.constant for form in operands):
        return operands[1] if operands[0].constant else operands[0]
    if name == "arith.divf" and operands[1].constant:
        return operands[0]
    every = frozenset().union(*(form.summed | form.other for form in operands))
    return _Form(frozenset(), every)


def _sums(structured: Structured, forms: dict[ir.Value, _Form]) -> tuple[tuple[int, ...], ...]:
    """Largest sums of whole inputs that are used nowhere else in the region, of one shape and indexing map."""
    arguments = list(structured.body.arguments)
    found: list[tuple[int, ...]] = []
    for view in structured.body.operations:
        op = view.operation
        if op.name != "arith.addf" or _continues(op, forms):
            continue
        members = tuple(sorted(forms[op.results[0]].summed))
        if len(members) < 2 or not members[-1] < structured.inputs or not _is_plain_sum(op):
            continue
        alike = {(structured.maps[i], str(structured.operands[i].type)) for i in members}
        once = all(len(list(arguments[i].uses)) == 1 for i in members)
        if len(alike) == 1 and once:
            found.append(members)
    return tuple(found)


def _continues(op: ir.Operation, forms: dict[ir.Value, _Form]) -> bool:
    """Whether the value is only a part of a larger sum."""
    users = [use.owner.operation for use in op.results[0].uses]
    return len(users) == 1 and users[0].name == "arith.addf" and bool(forms[users[0].results[0]].summed)


def _is_plain_sum(op: ir.Operation) -> bool:
    """Whether the value adds inputs of the op and nothing else."""
    todo = [op]
    while todo:
        for operand in todo.pop().operands:
            if isinstance(operand, ir.BlockArgument):
                continue
            if operand.owner.name != "arith.addf" or len(list(operand.uses)) > 1:
                return False
            todo.append(operand.owner)
    return True
