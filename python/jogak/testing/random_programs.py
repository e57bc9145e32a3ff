"""Random whole programs in linalg, for differential tests: every kind of op that partition knows, in odd combinations.

Programs are straight-line functions on small tensors. Sizes are mostly powers of two, so that mesh axes divide them,
with some 1s and 3s in between. All values stay small, so that a comparison in float64 has room for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

SIZES = (1, 2, 2, 3, 4, 4, 5, 6, 7, 8)
LONG = (8, 9, 10, 12, 12, 16, 2, 1)
"""Sizes that leave room for margins on several devices."""
EVEN = (2, 4, 6, 8, 12, 12, 16, 24)
"""Sizes that reshapes take apart, and mesh axes with them."""
MOST_ELEMENTS = 512
FLOATS = ("addf", "mulf", "subf", "maximumf", "minimumf")
INTEGERS = ("addi", "muli", "subi", "maxsi", "minsi", "andi", "ori")
REDUCTIONS = {
    "f32": {"addf": "0.0", "mulf": "1.0", "maximumf": "0xFF800000", "minimumf": "0x7F800000", "maxnumf": "-3.0"},
    "i64": {"addi": "0", "muli": "1", "maxsi": "-9223372036854775808", "minsi": "5", "andi": "-1", "ori": "0"},
    "i1": {"andi": "true", "ori": "false", "maxui": "false", "muli": "true", "addi": "false", "xori": "false"},
}
"""Combiners of reductions with an initial value that is usually their identity."""


@dataclass(frozen=True)
class Tensor:
    """A value of the program: its SSA name, shape and element type."""

    name: str
    shape: tuple[int, ...]
    element: str

    @property
    def type(self) -> str:
        return f"tensor<{'x'.join([*map(str, self.shape), self.element])}>"


Operand = tuple[Tensor, Sequence[str]]
"""A tensor and, for each of its dimensions, the affine expression that addresses it."""


@dataclass
class Builder:
    """A program that is being written.

    Attributes:
        random: where every choice comes from.
        arguments: the arguments so far; they are made when an op wants one.
        values: everything that a later op may read.
        unused: results that nothing has read yet.
        lines: the body.
        sizes: what dimensions are drawn from.
    """

    random: Random
    arguments: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    unused: dict[str, Tensor] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    count: int = 0
    sizes: Sequence[int] = SIZES

    def name(self) -> str:
        self.count += 1
        return f"%v{self.count}"

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def size(self) -> int:
        return self.random.choice(self.sizes)

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        """A random shape of not too many elements."""
        chosen: list[int] = []
        volume = 1
        for _ in range(self.random.randint(0, 4) if rank is None else rank):
            size = self.size()
            chosen.append(size if volume * size <= MOST_ELEMENTS else 1)
            volume *= chosen[-1]
        return tuple(chosen)

    def emit(self, text: str, shape: Sequence[int], element: str) -> Tensor:
        """Write `%name = text`, a value that later ops may read."""
        value = Tensor(self.name(), tuple(shape), element)
        self.lines.append(f"{value.name} = {text}")
        self.values.append(value)
        self.unused[value.name] = value
        return value

    def read(self, value: Tensor) -> Tensor:
        self.unused.pop(value.name, None)
        return value

    def scalar(self, text: str, type_: str) -> str:
        """A scalar constant."""
        name = self.name()
        self.lines.append(f"{name} = arith.constant {text}" + ("" if type_ == "i1" else f" : {type_}"))
        return name

    def argument(self, shape: Sequence[int], element: str) -> Tensor:
        value = Tensor(f"%arg{len(self.arguments)}", tuple(shape), element)
        self.arguments.append(value)
        self.values.append(value)
        return value

    def any(self, element: str, rank: int | None = None) -> Tensor:
        """A value of an element type (and rank), made when there is none or by chance."""
        found = [v for v in self.values if v.element == element and rank in (None, len(v.shape))]
        if found and self.chance(0.85):
            return self.read(self.random.choice(found[-6:] if self.chance(0.5) else found))
        return self.argument(self.shape(rank), element)

    def of(self, shape: Sequence[int], element: str) -> Tensor:
        """A value of exactly this shape: one that exists, an argument, a splat, a fill or a table of constants."""
        found = [value for value in self.values if value.shape == tuple(shape) and value.element == element]
        choice = self.random.random()
        if found and choice < 0.6:
            return self.read(self.random.choice(found))
        if choice < 0.8:
            return self.argument(shape, element)
        return self.free(shape, element) if choice < 0.92 else self.table(shape, element)

    def free(self, shape: Sequence[int], element: str, text: str | None = None) -> Tensor:
        """A splat or a constant fill."""
        type_ = Tensor("", tuple(shape), element).type
        text = text or (self.random.choice(("0.0", "1.0", "1.5")) if element == "f32" else "1")
        if self.chance(0.5) and not text.startswith("0x"):
            return self.emit(f"arith.constant dense<{text}> : {type_}", shape, element)
        value, empty = self.scalar(text, element), self.empty(shape, element)
        return self.emit(f"linalg.fill ins({value} : {element}) outs({empty} : {type_}) -> {type_}", shape, element)

    def table(self, shape: Sequence[int], element: str) -> Tensor:
        """A constant whose elements differ."""
        text = _nested(shape, self.random, element)
        return self.emit(f"arith.constant dense<{text}> : {Tensor('', tuple(shape), element).type}", shape, element)

    def empty(self, shape: Sequence[int], element: str) -> str:
        name = self.name()
        self.lines.append(f"{name} = tensor.empty() : {Tensor('', tuple(shape), element).type}")
        return name

    def aligned(self, loops: Sequence[int], element: str) -> Operand:
        """A value that loops of these sizes can read, transposed and broadcast; made when none fits."""
        found = [value for value in self.values if value.element == element]
        self.random.shuffle(found)
        for value in found[:4]:
            exprs = self.address(value.shape, loops)
            if exprs is not None:
                return self.read(value), exprs
        chosen = [loop for loop in range(len(loops)) if self.chance(0.7)]
        self.random.shuffle(chosen)
        return self.argument([loops[loop] for loop in chosen], element), [f"d{loop}" for loop in chosen]

    def address(self, shape: Sequence[int], loops: Sequence[int]) -> list[str] | None:
        """Expressions that address a tensor, by chance two dimensions by one loop; None when no loop has their size."""
        left = list(range(len(loops)))
        exprs = []
        for size in shape:
            usable = range(len(loops)) if self.chance(0.1) else left
            fitting = [loop for loop in usable if loops[loop] == size]
            if size == 1 and (not fitting or self.chance(0.5)):
                exprs.append("0")
            elif fitting:
                loop = self.random.choice(fitting)
                left = [other for other in left if other != loop]
                exprs.append(f"d{loop}")
            else:
                return None
        return exprs

    def generic(
        self,
        loops: Sequence[str],
        inputs: Sequence[Operand],
        outputs: Sequence[Operand],
        body: Sequence[str],
        yields: Sequence[str],
        scalars: Sequence[tuple[str, str]] = (),
    ) -> list[Tensor]:
        """A `linalg.generic`; inputs are `%a0, …` in its region, scalar inputs `%s0, …`, outputs `%o0, …`.

        Args:
            loops: iterator type of each loop.
            scalars: names and types of scalar inputs.
        """
        domain = ", ".join(f"d{loop}" for loop in range(len(loops)))
        addresses = [exprs for _, exprs in inputs] + [()] * len(scalars) + [exprs for _, exprs in outputs]
        maps = ", ".join(f"affine_map<({domain}) -> ({', '.join(exprs)})>" for exprs in addresses)
        iterators = ", ".join(f'"{kind}"' for kind in loops)
        read = [(value.name, value.type) for value, _ in inputs] + list(scalars)
        written = [(value.name, value.type) for value, _ in outputs]
        ins = f"ins({_typed(read)}) " if read else ""
        block = [f"%a{n}: {value.element}" for n, (value, _) in enumerate(inputs)]
        block += [f"%s{n}: {type_}" for n, (_, type_) in enumerate(scalars)]
        block += [f"%o{n}: {value.element}" for n, (value, _) in enumerate(outputs)]
        results = ", ".join(type_ for _, type_ in written)
        elements = ", ".join(value.element for value, _ in outputs)
        text = (
            f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{iterators}]}} {ins}outs({_typed(written)})"
        )
        region = [f"^bb0({', '.join(block)}):", *body, f"linalg.yield {', '.join(yields)} : {elements}"]
        whole = "\n".join([f"{text} {{", *region, f"}} -> {results if len(written) == 1 else f'({results})'}"])
        if len(outputs) == 1:
            return [self.emit(whole, outputs[0][0].shape, outputs[0][0].element)]
        base = self.name()
        self.lines.append(f"{base}:{len(outputs)} = {whole}")
        made = [Tensor(f"{base}#{n}", value.shape, value.element) for n, (value, _) in enumerate(outputs)]
        self.values += made
        self.unused |= {value.name: value for value in made}
        return made

    def init(self, shape: Sequence[int], element: str) -> Tensor:
        """What an op writes over."""
        return Tensor(self.empty(shape, element), tuple(shape), element)

    def text(self) -> str:
        """The module: everything that nothing reads is a result, and some other values too."""
        results = [*self.unused.values(), *self.random.choices(self.values, k=self.random.randint(0, 2))]
        self.random.shuffle(results)
        taken: set[int] = set()
        notes = [self._note(result, taken) for result in results]
        arguments = ", ".join(f"{value.name}: {value.type}" for value in self.arguments)
        types = ", ".join(f"{value.type}{note}" for value, note in zip(results, notes, strict=True))
        body = "\n".join(self.lines)
        returned = _typed([(value.name, value.type) for value in results])
        return f"func.func @main({arguments}) -> ({types}) {{\n{body}\nreturn {returned}\n}}\n"

    def _note(self, result: Tensor, taken: set[int]) -> str:
        """By chance, the result is the new value of an argument."""
        for position, argument in enumerate(self.arguments):
            if position not in taken and argument.type == result.type and self.chance(0.4):
                taken.add(position)
                return f" {{jogak.updates = {position} : i64}}"
        return ""


def _typed(values: Sequence[tuple[str, str]]) -> str:
    return f"{', '.join(name for name, _ in values)} : {', '.join(type_ for _, type_ in values)}"


def _nested(shape: Sequence[int], random: Random, element: str) -> str:
    if not shape:
        return f"{random.randint(-3, 3)}.5" if element == "f32" else str(random.randint(-3, 3))
    return f"[{', '.join(_nested(shape[1:], random, element) for _ in range(shape[0]))}]"
