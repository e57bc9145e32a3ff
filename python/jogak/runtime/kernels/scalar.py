"""Every op of `arith`, `math` and `index` as torch code on whole tensors.

The functions run on real tensors and on `torch.fx` proxies alike. Integers have MLIR's semantics: they wrap, division
truncates, and signless values are read as signed or unsigned by the op.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.kernels import integers
from jogak.runtime.spec import Attribute, RegionOp
from jogak.runtime.types import Precision, dtype_of


class Call(NamedTuple):
    """What a function may know about the op that it stands for.

    Attributes:
        op: the op.
        elements: element types of its operands.
        precision: how floats are held.
    """

    op: RegionOp
    elements: tuple[str, ...]
    precision: Precision | None

    @property
    def element(self) -> str:
        """The element type of the first operand."""
        return self.elements[0]

    @property
    def dtype(self) -> torch.dtype:
        """How the first result is held."""
        return dtype_of(self.op.results[0], self.precision)

    def attribute(self, name: str) -> Attribute:
        return self.op.attribute(name)


Results = Tensor | tuple[Tensor, ...]
Function = Callable[..., Results]

_CMPF = {1: "eq", 2: "gt", 3: "ge", 4: "lt", 5: "le", 6: "one", 7: "ord", 8: "ueq", 9: "ugt", 10: "uge", 11: "ult",
         12: "ule", 13: "ne", 14: "uno"}  # fmt: skip
_CMPI = ("eq", "ne", "lt", "le", "gt", "ge", "lt", "le", "gt", "ge")
_COMPARE = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


def _cmpf(call: Call, a: Tensor, b: Tensor) -> Tensor:
    predicate = call.attribute("predicate")
    if predicate in (0, 15):
        return (a == b) | True if predicate else (a == b) & False
    name = _CMPF[int(str(predicate))]
    if name in _COMPARE:
        return _compare(name, a, b)
    unordered = torch.isnan(a) | torch.isnan(b)
    if name in ("ord", "uno"):
        return unordered if name == "uno" else ~unordered
    if name == "one":
        return (a != b) & ~unordered
    return _compare(name[1:], a, b) | unordered


def _compare(name: str, a: Tensor, b: Tensor) -> Tensor:
    result: Tensor = _COMPARE[name](a, b)
    return result


def _cmpi(call: Call, a: Tensor, b: Tensor) -> Tensor:
    predicate = int(str(call.attribute("predicate")))
    name = _CMPI[predicate]
    if predicate >= 6:
        a, b = integers.unsigned(a, call.element), integers.unsigned(b, call.element)
        if call.element in ("i64", "index"):
            a, b = a ^ integers.SIGN, b ^ integers.SIGN
    elif predicate >= 2:
        a, b = integers.signed(a, call.element), integers.signed(b, call.element)
    return _compare(name, a, b)


def _integer(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """Arithmetic that wraps: `i1` goes through int8 and keeps its low bit."""

    def run(call: Call, a: Tensor, b: Tensor) -> Tensor:
        if call.element != "i1":
            return function(a, b)
        return (function(integers.signed(a, "i1"), integers.signed(b, "i1")) & 1) != 0

    return run


def _unsigned(narrow: Callable[[Tensor, Tensor], Tensor], wide: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """Arithmetic on unsigned values: `narrow` where int64 holds them, `wide` on the bits of 64-bit values."""

    def run(call: Call, a: Tensor, b: Tensor) -> Tensor:
        function = wide if call.element in ("i64", "index") else narrow
        return function(integers.unsigned(a, call.element), integers.unsigned(b, call.element)).to(call.dtype)

    return run


def _plain(function: Callable[..., Any]) -> Function:
    def run(_: Call, *arguments: Tensor) -> Tensor:
        return cast(Tensor, function(*arguments))

    return run


def _trunc_div(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode="trunc")


def _floor_div(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode="floor")


def _ceil_div(a: Tensor, b: Tensor) -> Tensor:
    return -torch.div(-a, b, rounding_mode="floor")


def _wide_ceil_div(a: Tensor, b: Tensor) -> Tensor:
    quotient, remainder = integers.divide(a, b)
    return quotient + (remainder != 0)


def _wide_max(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(integers.less(a, b), b, a)


def _wide_min(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(integers.less(a, b), a, b)


def _cast(call: Call, x: Tensor) -> Tensor:
    return x.to(call.dtype)


def _sign_extend(call: Call, x: Tensor) -> Tensor:
    return integers.signed(x, call.element).to(call.dtype)


def _zero_extend(call: Call, x: Tensor) -> Tensor:
    return integers.unsigned(x, call.element).to(call.dtype)


def _truncate_integer(call: Call, x: Tensor) -> Tensor:
    return (x & 1) != 0 if call.op.results[0] == "i1" else x.to(call.dtype)


def _unsigned_to_float(call: Call, x: Tensor) -> Tensor:
    value = integers.unsigned(x, call.element)
    if call.element not in ("i64", "index"):
        return value.to(call.dtype)
    halved = (integers.shift_right(value, 1) | (value & 1)).to(call.dtype) * 2
    return torch.where(value < 0, halved, value.to(call.dtype))


def _float_to_integer(call: Call, x: Tensor) -> Tensor:
    return (x.to(torch.int64) & 1) != 0 if call.op.results[0] == "i1" else x.to(torch.int64).to(call.dtype)


def _bitcast(call: Call, x: Tensor) -> Tensor:
    declared = dtype_of(call.op.results[0])
    source = x.to(dtype_of(call.element))
    return source.view(declared).to(call.dtype)


def _select(_: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


def _add_extended(call: Call, a: Tensor, b: Tensor) -> Results:
    total = a + b
    carry = integers.unsigned(total, call.element) ^ integers.SIGN
    return total, carry < (integers.unsigned(a, call.element) ^ integers.SIGN)


def _subtract_extended(call: Call, a: Tensor, b: Tensor) -> Results:
    return a - b, integers.less(integers.unsigned(a, call.element), integers.unsigned(b, call.element))


def _multiply_extended(*, is_signed: bool) -> Function:
    def run(call: Call, a: Tensor, b: Tensor) -> Results:
        return integers.multiply_extended(a, b, call.element, is_signed=is_signed)

    return run


def _power_of_integer(_: Call, base: Tensor, exponent: Tensor) -> Tensor:
    positive = torch.pow(base, exponent.clamp(min=0))
    inverse = torch.where(base == 1, 1, torch.where(base == -1, 1 - 2 * (exponent & 1), 0)).to(positive.dtype)
    return torch.where(exponent < 0, inverse, positive)


def _round_half_away(_: Call, x: Tensor) -> Tensor:
    whole = torch.trunc(x)
    return torch.where(torch.abs(x - whole) >= 0.5, whole + torch.sign(x), whole)


def _cube_root(_: Call, x: Tensor) -> Tensor:
    return torch.sign(x) * torch.pow(torch.abs(x), 1.0 / 3.0)


def _is_normal(call: Call, x: Tensor) -> Tensor:
    return torch.isfinite(x) & (torch.abs(x) >= torch.finfo(dtype_of(call.element)).smallest_normal)


def _count(function: Callable[[Tensor, str], Tensor]) -> Function:
    def run(call: Call, x: Tensor) -> Tensor:
        return function(x, call.element).to(call.dtype)

    return run


def _trailing_zeros(x: Tensor, element: str) -> Tensor:
    return integers.count_ones(~x & (x - 1), element)


def _multiply_add(_: Call, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return a * b + c


def _clamp(_: Call, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, low), high)


def _sine_and_cosine(_: Call, x: Tensor) -> Results:
    return torch.sin(x), torch.cos(x)


def _shift_right_unsigned(call: Call, x: Tensor, count: Tensor) -> Tensor:
    return integers.shift_right(integers.unsigned(x, call.element), count.to(torch.int64)).to(call.dtype)


def _identity(_: Call, x: Tensor) -> Tensor:
    return x


_MATH: dict[str, Callable[..., Any]] = {
    "acos": torch.acos, "acosh": torch.acosh, "asin": torch.asin, "asinh": torch.asinh, "atan": torch.atan,
    "atan2": torch.atan2, "atanh": torch.atanh, "ceil": torch.ceil, "copysign": torch.copysign, "cos": torch.cos,
    "cosh": torch.cosh, "erf": torch.erf, "erfc": torch.erfc, "exp": torch.exp, "exp2": torch.exp2,
    "expm1": torch.expm1, "floor": torch.floor, "fpowi": torch.pow, "isfinite": torch.isfinite, "isinf": torch.isinf,
    "isnan": torch.isnan, "log": torch.log, "log10": torch.log10, "log1p": torch.log1p, "log2": torch.log2,
    "powf": torch.pow, "roundeven": torch.round, "rsqrt": torch.rsqrt, "sin": torch.sin, "sinh": torch.sinh,
    "sqrt": torch.sqrt, "tan": torch.tan, "tanh": torch.tanh, "trunc": torch.trunc, "absf": torch.abs,
    "absi": torch.abs,
}  # fmt: skip

FUNCTIONS: dict[str, Function] = {
    **{f"math.{name}": _plain(function) for name, function in _MATH.items()},
    "math.cbrt": _cube_root,
    "math.clampf": _clamp,
    "math.ctlz": _count(integers.leading_zeros),
    "math.ctpop": _count(integers.count_ones),
    "math.cttz": _count(_trailing_zeros),
    "math.fma": _multiply_add,
    "math.ipowi": _power_of_integer,
    "math.isnormal": _is_normal,
    "math.round": _round_half_away,
    "math.sincos": _sine_and_cosine,
    "arith.addf": _plain(operator.add),
    "arith.subf": _plain(operator.sub),
    "arith.mulf": _plain(operator.mul),
    "arith.divf": _plain(operator.truediv),
    "arith.remf": _plain(torch.fmod),
    "arith.negf": _plain(operator.neg),
    "arith.maximumf": _plain(torch.maximum),
    "arith.minimumf": _plain(torch.minimum),
    "arith.maxnumf": _plain(torch.fmax),
    "arith.minnumf": _plain(torch.fmin),
    "arith.cmpf": _cmpf,
    "arith.cmpi": _cmpi,
    "arith.addi": _integer(operator.add),
    "arith.subi": _integer(operator.sub),
    "arith.muli": _integer(operator.mul),
    "arith.divsi": _integer(_trunc_div),
    "arith.floordivsi": _integer(_floor_div),
    "arith.ceildivsi": _integer(_ceil_div),
    "arith.remsi": _integer(torch.fmod),
    "arith.maxsi": _integer(torch.maximum),
    "arith.minsi": _integer(torch.minimum),
    "arith.divui": _unsigned(_trunc_div, lambda a, b: integers.divide(a, b)[0]),
    "arith.remui": _unsigned(torch.fmod, lambda a, b: integers.divide(a, b)[1]),
    "arith.ceildivui": _unsigned(_ceil_div, _wide_ceil_div),
    "arith.maxui": _unsigned(torch.maximum, _wide_max),
    "arith.minui": _unsigned(torch.minimum, _wide_min),
    "arith.andi": _plain(operator.and_),
    "arith.ori": _plain(operator.or_),
    "arith.xori": _plain(operator.xor),
    "arith.shli": _integer(operator.lshift),
    "arith.shrsi": _integer(operator.rshift),
    "arith.shrui": _shift_right_unsigned,
    "arith.extf": _cast,
    "arith.truncf": _cast,
    "arith.convertf": _cast,
    "arith.extsi": _sign_extend,
    "arith.sitofp": _sign_extend,
    "arith.extui": _zero_extend,
    "arith.uitofp": _unsigned_to_float,
    "arith.trunci": _truncate_integer,
    "arith.fptosi": _float_to_integer,
    "arith.fptoui": _float_to_integer,
    "arith.index_cast": _sign_extend,
    "arith.index_castui": _zero_extend,
    "arith.bitcast": _bitcast,
    "arith.select": _select,
    "arith.addui_extended": _add_extended,
    "arith.subui_extended": _subtract_extended,
    "arith.mulsi_extended": _multiply_extended(is_signed=True),
    "arith.mului_extended": _multiply_extended(is_signed=False),
    "arith.flush_denormals": _identity,
}
"""For each op its torch code: `function(call, *operands)`."""

_INDEX_ALIASES = {
    "add": "addi", "and": "andi", "casts": "index_cast", "castu": "index_castui", "ceildivs": "ceildivsi",
    "ceildivu": "ceildivui", "divs": "divsi", "divu": "divui", "floordivs": "floordivsi",
    "maxs": "maxsi", "maxu": "maxui", "mins": "minsi", "minu": "minui", "mul": "muli", "or": "ori", "rems": "remsi",
    "remu": "remui", "shl": "shli", "shrs": "shrsi", "shru": "shrui", "sub": "subi", "xor": "xori",
}  # fmt: skip
FUNCTIONS.update({f"index.{alias}": FUNCTIONS[f"arith.{name}"] for alias, name in _INDEX_ALIASES.items()})

TAKES_NUMBERS = frozenset(
    ["arith.addf", "arith.subf", "arith.mulf", "arith.divf", "arith.addi", "arith.subi", "arith.muli", "arith.cmpf",
     "arith.cmpi", "math.powf", "math.fpowi", "arith.select"]
)  # fmt: skip
"""Ops that take a Python number in place of a constant tensor when another operand is a tensor of the same type."""


def function(op: RegionOp) -> Function:
    """The torch code of an op.

    Raises:
        JogakError: there is none.
    """
    found = FUNCTIONS.get(op.name)
    if found is None:
        raise JogakError(
            f"no torch kernel for the op {op.name!r} in a region", hint="rewrite it with arith or math ops"
        )
    return found


def takes_numbers(op: RegionOp, elements: tuple[str, ...]) -> bool:
    """Whether a constant operand may stay a Python number; unsigned comparisons and `i1` arithmetic need tensors."""
    if op.name not in TAKES_NUMBERS or (elements[0] == "i1" and op.name != "arith.select"):
        return False
    if op.name == "arith.cmpf":
        return op.attribute("predicate") in (1, 2, 3, 4, 5, 13)
    return op.name != "arith.cmpi" or int(str(op.attribute("predicate"))) < 6
