"""The ops that random programs are made of: each function writes one, with a shape and operands of its own choice."""

from __future__ import annotations

from collections.abc import Sequence

from jogak.testing.random_programs import (
    FLOATS,
    INTEGERS,
    MOST_ELEMENTS,
    REDUCTIONS,
    Builder,
    Operand,
    Tensor,
)


def elementwise(b: Builder) -> None:
    """Any arithmetic on broadcast and transposed operands, loop indices and a scalar, with one or two results."""
    element = b.random.choice(("f32", "f32", "f32", "i64"))
    base = b.any(element)
    order = list(range(len(base.shape)))
    b.random.shuffle(order)
    loops = [base.shape[dim] for dim in order]
    if b.chance(0.2):
        loops.append(b.size())
    inputs: list[Operand] = [(base, [f"d{order.index(dim)}" for dim in range(len(order))])]
    inputs += [b.aligned(loops, element) for _ in range(b.random.randint(0, 2))]
    scalars = [(b.scalar("2.0" if element == "f32" else "2", element), element)] if b.chance(0.1) else []
    body, last = _arithmetic(b, element, len(inputs), len(scalars), loops)
    shapes = [identity(loops)]
    if b.chance(0.2) and loops:
        shapes.append(list(reversed(shapes[0])))
    outputs, yields = [], []
    for number, exprs in enumerate(shapes):
        shape = [loops[int(expr[1:])] for expr in exprs]
        read = b.chance(0.15)
        outputs.append((b.of(shape, element) if read or b.chance(0.1) else b.init(shape, element), exprs))
        if read:
            body.append(f"%r{number} = arith.{'addf' if element == 'f32' else 'addi'} {last}, %o{number} : {element}")
        yields.append(f"%r{number}" if read else last)
    b.generic(["parallel"] * len(loops), inputs, outputs, body, yields, scalars)


def identity(loops: Sequence[int]) -> list[str]:
    return [f"d{loop}" for loop in range(len(loops))]


def _arithmetic(b: Builder, element: str, inputs: int, scalars: int, loops: Sequence[int]) -> tuple[list[str], str]:
    """Combine the inputs, and by chance an index: the lines and the name of the result."""
    body: list[str] = []
    last = "%a0"
    names = [*(f"%a{n}" for n in range(1, inputs)), *(f"%s{n}" for n in range(scalars))]
    if loops and b.chance(0.25):
        body += _index(b.random.randrange(len(loops)), element)
        names.append("%at")
    for number, name in enumerate(names):
        if element == "f32":
            body.append(f"%t{number} = math.tanh {last} : f32")
            last = f"%t{number}"
        op = b.random.choice(FLOATS if element == "f32" else INTEGERS)
        body.append(f"%c{number} = arith.{op} {last}, {name} : {element}")
        last = f"%c{number}"
    return body, last


def _index(loop: int, element: str) -> list[str]:
    """The loop's index as a number, `%at`."""
    lines = [f"%i = linalg.index {loop} : index"]
    if element == "f32":
        return [*lines, "%j = arith.index_cast %i : index to i64", "%at = arith.sitofp %j : i64 to f32"]
    return [*lines, "%at = arith.index_cast %i : index to i64"]


def contraction(b: Builder) -> None:
    """A product of two tensors summed over some of their dimensions, in any order of dimensions."""
    left = b.any("f32", b.random.randint(1, 4))
    loops = list(left.shape)
    own = [f"d{loop}" for loop in range(len(loops))]
    shared = [loop for loop in range(len(loops)) if b.chance(0.6)]
    for _ in range(b.random.randint(0, 2)):
        if _volume(loops) <= MOST_ELEMENTS:
            loops.append(b.size())
            shared.append(len(loops) - 1)
    b.random.shuffle(shared)
    right = b.of([loops[loop] for loop in shared], "f32")
    kept = [loop for loop in range(len(loops)) if b.chance(0.6)]
    b.random.shuffle(kept)
    output = accumulator(b, [loops[loop] for loop in kept], "addf", "f32")
    body = ["%t = math.tanh %a0 : f32", "%m = arith.mulf %t, %a1 : f32", "%s = arith.addf %o0, %m : f32"]
    kinds = ["parallel" if loop in kept else "reduction" for loop in range(len(loops))]
    inputs: list[Operand] = [(left, own), (right, [f"d{loop}" for loop in shared])]
    b.generic(kinds, inputs, [(output, [f"d{loop}" for loop in kept])], body, ["%s"])


def _volume(shape: Sequence[int]) -> int:
    volume = 1
    for size in shape:
        volume *= size
    return volume


def accumulator(b: Builder, shape: Sequence[int], op: str, element: str) -> Tensor:
    """The initial value of a reduction: its identity, another constant, or a value."""
    if element == "i1":
        return b.free(shape, element, REDUCTIONS["i1"][op])
    choice = b.random.random()
    if choice < 0.6:
        return b.free(shape, element, REDUCTIONS[element][op])
    return b.free(shape, element) if choice < 0.75 else b.of(shape, element)


def reduction(b: Builder) -> None:
    """One or two reductions of a value over some dimensions, by chance weighted by an index."""
    element = b.random.choice(("f32", "f32", "i64", "i1"))
    value = b.any("i64" if element == "i1" else element, b.random.randint(1, 4))
    kept = [loop for loop in range(len(value.shape)) if b.chance(0.5)]
    shape = [value.shape[loop] for loop in kept]
    body = ["%x = arith.trunci %a0 : i64 to i1"] if element == "i1" else []
    term = "%x" if element == "i1" else "%a0"
    if element == "f32":
        body, term = ["%t = math.tanh %a0 : f32"], "%t"
    if element != "i1" and b.chance(0.3):
        body += _index(b.random.randrange(len(value.shape)), element)
        body.append(f"%w = arith.{'mulf' if element == 'f32' else 'addi'} {term}, %at : {element}")
        term = "%w"
    outputs, yields = [], []
    for number in range(2 if b.chance(0.25) else 1):
        op = b.random.choice(list(REDUCTIONS[element]))
        outputs.append((accumulator(b, shape, op, element), [f"d{loop}" for loop in kept]))
        body.append(f"%c{number} = arith.{op} %o{number}, {term} : {element}")
        yields.append(f"%c{number}")
    kinds = ["parallel" if loop in kept else "reduction" for loop in range(len(value.shape))]
    b.generic(kinds, [(value, identity(value.shape))], outputs, body, yields)


def argmax(b: Builder) -> None:
    """The largest element along a dimension and its index: a reduction that no collective can combine."""
    value = b.any("i64", b.random.randint(1, 3))
    axis = b.random.randrange(len(value.shape))
    kept = [loop for loop in range(len(value.shape)) if loop != axis]
    shape = [value.shape[loop] for loop in kept]
    exprs = [f"d{loop}" for loop in kept]
    outputs = [(b.free(shape, "i64", "-99"), exprs), (b.free(shape, "i64", "0"), exprs)]
    body = [*_index(axis, "i64"), "%g = arith.cmpi sgt, %a0, %o0 : i64"]
    body += ["%m = arith.select %g, %a0, %o0 : i64", "%n = arith.select %g, %at, %o1 : i64"]
    kinds = ["parallel" if loop in kept else "reduction" for loop in range(len(value.shape))]
    b.generic(kinds, [(value, identity(value.shape))], outputs, body, ["%m", "%n"])


def causal_mask(b: Builder) -> None:
    """A value where one index is not above another, a constant elsewhere."""
    value = b.any("f32", b.random.randint(2, 4))
    row, column = b.random.sample(range(len(value.shape)), 2)
    body = [f"%i = linalg.index {row} : index", f"%j = linalg.index {column} : index"]
    body += ["%k = arith.cmpi sle, %j, %i : index", "%n = arith.constant -4.0 : f32"]
    body.append("%s = arith.select %k, %a0, %n : f32")
    exprs = identity(value.shape)
    b.generic(["parallel"] * len(exprs), [(value, exprs)], [(b.init(value.shape, "f32"), exprs)], body, ["%s"])


def iota(b: Builder) -> None:
    """An index along one dimension, as a tensor."""
    shape = b.shape(b.random.randint(1, 3))
    element = b.random.choice(("f32", "i64"))
    body = _index(b.random.randrange(len(shape)), element)
    b.generic(["parallel"] * len(shape), [], [(b.init(shape, element), identity(shape))], body, ["%at"])


def collapse(b: Builder) -> None:
    """Neighbouring dimensions made one."""
    value = b.any(_any_element(b), b.random.randint(1, 4))
    groups: list[list[int]] = [[0]]
    for dim in range(1, len(value.shape)):
        if b.chance(0.5):
            groups[-1].append(dim)
        else:
            groups.append([dim])
    shape = [_volume([value.shape[dim] for dim in group]) for group in groups]
    result = Tensor("", tuple(shape), value.element)
    b.emit(f"tensor.collapse_shape {value.name} {groups} : {value.type} into {result.type}", shape, value.element)


def _any_element(b: Builder) -> str:
    return b.random.choice(("f32", "f32", "i64"))


def expand(b: Builder) -> None:
    """A dimension made several."""
    value = b.any(_any_element(b), b.random.randint(0, 3))
    groups: list[list[int]] = []
    shape: list[int] = [1] * (0 if value.shape else b.random.randint(0, 2))
    for size in value.shape:
        parts = _factored(b, size)
        groups.append(list(range(len(shape), len(shape) + len(parts))))
        shape += parts
    result = Tensor("", tuple(shape), value.element)
    sizes = f"[{', '.join(map(str, shape))}]"
    text = f"tensor.expand_shape {value.name} {groups} output_shape {sizes} : {value.type} into {result.type}"
    b.emit(text, shape, value.element)


def _factored(b: Builder, size: int) -> list[int]:
    parts = [1] if b.chance(0.15) else []
    while size > 1 and b.chance(0.6):
        factor = b.random.choice([factor for factor in range(1, size + 1) if size % factor == 0])
        parts.append(factor)
        size //= factor
    parts.append(size)
    return parts


def _box(b: Builder, shape: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Offsets, sizes and strides of a part of a tensor; most dimensions whole."""
    offsets, sizes, strides = [], [], []
    for size in shape:
        stride = 2 if size > 2 and b.chance(0.15) else 1
        offset = b.random.randrange(size) if b.chance(0.35) else 0
        most = (size - offset - 1) // stride + 1
        sizes.append(b.random.randint(1, most) if b.chance(0.25) else most)
        offsets.append(offset)
        strides.append(stride)
    return offsets, sizes, strides


def extract_slice(b: Builder) -> None:
    """A part of a tensor, by chance without some dimensions of size 1."""
    value = b.any(_any_element(b), b.random.randint(1, 4))
    offsets, sizes, strides = _box(b, value.shape)
    shape = [size for size in sizes if size != 1 or b.chance(0.5)]
    result = Tensor("", tuple(shape), value.element)
    box = f"{offsets} {sizes} {strides}"
    b.emit(f"tensor.extract_slice {value.name}{box} : {value.type} to {result.type}", shape, value.element)


def insert_slice(b: Builder) -> None:
    """A tensor written into a part of another."""
    target = b.any(_any_element(b), b.random.randint(1, 4))
    offsets, sizes, strides = _box(b, target.shape)
    source = b.of([size for size in sizes if size != 1 or b.chance(0.5)], target.element)
    box = f"{offsets} {sizes} {strides}"
    text = f"tensor.insert_slice {source.name} into {target.name}{box} : {source.type} into {target.type}"
    b.emit(text, target.shape, target.element)


def pad(b: Builder) -> None:
    """A tensor with a border of constants around some dimensions."""
    value = b.any("f32", b.random.randint(1, 3))
    low = [b.random.randint(0, 2) if b.chance(0.3) else 0 for _ in value.shape]
    high = [b.random.randint(0, 2) if b.chance(0.3) else 0 for _ in value.shape]
    shape = [sum(sizes) for sizes in zip(value.shape, low, high, strict=True)]
    constant = b.scalar("0.5", "f32")
    block = ", ".join(f"%p{dim}: index" for dim in range(len(shape)))
    region = f"{{\n^bb0({block}):\ntensor.yield {constant} : f32\n}}"
    result = Tensor("", tuple(shape), "f32")
    b.emit(f"tensor.pad {value.name} low{low} high{high} {region} : {value.type} to {result.type}", shape, "f32")


def concat(b: Builder) -> None:
    """Two or three tensors one behind the other."""
    first = b.any(_any_element(b), b.random.randint(1, 3))
    axis = b.random.randrange(len(first.shape))
    parts = [first]
    for _ in range(b.random.randint(1, 2)):
        shape = list(first.shape)
        shape[axis] = b.size()
        parts.append(b.of(shape, first.element))
    whole = list(first.shape)
    whole[axis] = sum(part.shape[axis] for part in parts)
    names, types = ", ".join(part.name for part in parts), ", ".join(part.type for part in parts)
    result = Tensor("", tuple(whole), first.element)
    b.emit(f"tensor.concat dim({axis}) {names} : ({types}) -> {result.type}", whole, first.element)


def window(b: Builder) -> None:
    """A convolution or pooling along one dimension, with strides and dilations, the size-1 window among them."""
    stride, dilation, kernel = b.random.choice((1, 1, 2)), b.random.choice((1, 1, 2)), b.random.choice((1, 1, 2, 3))
    batch, out, channels = b.random.choice((1, 2, 4)), b.size(), b.random.choice((1, 2, 4))
    length = (out - 1) * stride + (kernel - 1) * dilation + 1 + (b.random.randint(0, 1) if b.chance(0.3) else 0)
    source = b.of((batch, length, channels), "f32")
    here = f"d1 * {stride} + d2 * {dilation}"
    if b.chance(0.5):
        weight = b.of((kernel, channels, 2), "f32")
        inputs = [(source, ["d0", here, "d4"]), (weight, ["d2", "d4", "d3"])]
        output = (accumulator(b, (batch, out, 2), "addf", "f32"), ["d0", "d1", "d3"])
        kinds = ["parallel", "parallel", "reduction", "parallel", "reduction"]
        body = ["%t = math.tanh %a0 : f32", "%m = arith.mulf %t, %a1 : f32", "%s = arith.addf %o0, %m : f32"]
    else:
        inputs = [(source, ["d0", here, "d3"]), (b.init((kernel,), "f32"), ["d2"])]
        output = (accumulator(b, (batch, out, channels), "maximumf", "f32"), ["d0", "d1", "d3"])
        kinds = ["parallel", "parallel", "reduction", "parallel"]
        body = ["%s = arith.maximumf %o0, %a0 : f32"]
    b.generic(kinds, inputs, [output], body, ["%s"])


def gather(b: Builder) -> None:
    """Rows of a table by computed indices: of the data, of a second table, by two indices, or by loops alone."""
    index_shape = b.shape(b.random.randint(1, 2))
    table = b.any(b.random.choice(("f32", "i64")), b.random.randint(1, 3))
    loops = list(index_shape)
    data = b.random.choice([*range(len(table.shape)), None])
    also = b.random.randrange(len(table.shape)) if b.chance(0.2) else None
    body: list[str] = []
    reads: list[str] = []
    for dim, size in enumerate(table.shape):
        name = f"%q{dim}"
        if dim in (data, also):
            body.append(f"%n{dim} = arith.constant {size} : i64")
            body.append(f"%e{dim} = arith.remui %a0, %n{dim} : i64")
            body.append(f"{name} = arith.index_cast %e{dim} : i64 to index")
        else:
            shorter = b.random.randint(1, size) if b.chance(0.15) else size
            reused = [loop for loop, length in enumerate(loops) if length == size]
            if reused and b.chance(0.4):
                body.append(f"{name} = linalg.index {b.random.choice(reused)} : index")
            else:
                loops.append(shorter)
                body.append(f"{name} = linalg.index {len(loops) - 1} : index")
        reads.append(name)
    body.append(f"%x = tensor.extract {table.name}[{', '.join(reads)}] : {table.type}")
    result = "%x"
    if b.chance(0.25):
        op = "addf" if table.element == "f32" else "addi"
        body.append(f"%y = arith.{op} %x, %x : {table.element}")
        result = "%y"
    inputs: list[Operand] = [(b.of(index_shape, "i64"), identity(index_shape))]
    output = (b.init(loops, table.element), identity(loops))
    b.generic(["parallel"] * len(loops), inputs, [output], body, [result])


def nested_gather(b: Builder) -> None:
    """A row of a table whose number is read from another table."""
    rows, columns = b.size(), b.size()
    table, numbers = b.of((rows, columns), "f32"), b.any("i64", 1)
    loops = [numbers.shape[0], columns]
    body = ["%i = linalg.index 0 : index", f"%r = tensor.extract {numbers.name}[%i] : {numbers.type}"]
    body += [f"%n = arith.constant {rows} : i64", "%e = arith.remui %r, %n : i64"]
    body += ["%k = arith.index_cast %e : i64 to index", "%j = linalg.index 1 : index"]
    body.append(f"%x = tensor.extract {table.name}[%k, %j] : {table.type}")
    b.generic(["parallel"] * 2, [], [(b.init(loops, "f32"), identity(loops))], body, ["%x"])


def scatter(b: Builder) -> None:
    """Rows of updates merged into rows of a target that the data names."""
    element = b.random.choice(("f32", "i64"))
    target = b.any(element, b.random.randint(1, 3))
    axis = 0 if b.chance(0.7) else b.random.randrange(len(target.shape))
    count, index_type = b.size(), b.random.choice(("i32", "i64"))
    window = [1 if dim == axis else size for dim, size in enumerate(target.shape)]
    if axis == 0 and b.chance(0.5):
        del window[0]
    indices = _row_numbers(b, count, target.shape[axis], index_type)
    updates = b.of((count, *window), element)
    op = b.random.choice(("addf", "maximumf") if element == "f32" else ("addi", "minsi", "muli"))
    typed = _typed_pair(updates, indices)
    text = f"tm_tensor.scatter {{dimension_map = array<i64: {axis}>}} unique_indices(false) ins({typed}) "
    text += f"outs({target.name} : {target.type}) {{\n^bb0(%u: {element}, %t: {element}):\n"
    text += f"%z = arith.{op} %t, %u : {element}\ntm_tensor.yield %z : {element}\n}} -> {target.type}"
    b.emit(text, target.shape, element)


def _typed_pair(first: Tensor, second: Tensor) -> str:
    return f"{first.name}, {second.name} : {first.type}, {second.type}"


def _row_numbers(b: Builder, count: int, rows: int, element: str) -> Tensor:
    """A column of valid row numbers, computed from data."""
    numbers = b.of((count, 1), "i64")
    body = [f"%n = arith.constant {rows} : i64", "%e = arith.remui %a0, %n : i64"]
    body += ["%r = arith.trunci %e : i64 to i32"] if element == "i32" else []
    output = (b.init((count, 1), element), ["d0", "d1"])
    result = "%r" if element == "i32" else "%e"
    return b.read(b.generic(["parallel"] * 2, [(numbers, ["d0", "d1"])], [output], body, [result])[0])


def scan(b: Builder) -> None:
    """A running sum: two results of different rank."""
    value = b.any("f32", b.random.randint(1, 3))
    axis = b.random.randrange(len(value.shape))
    rest = [size for dim, size in enumerate(value.shape) if dim != axis]
    last = b.free(rest, "f32", "0.0")
    made = [Tensor("", value.shape, "f32"), Tensor("", tuple(rest), "f32")]
    outs = f"{b.empty(value.shape, 'f32')}, {last.name} : {made[0].type}, {made[1].type}"
    text = f"tm_tensor.scan dimension({axis}) inclusive(true) ins({value.name} : {value.type}) outs({outs}) {{\n"
    text += "^bb0(%x: f32, %y: f32):\n%z = arith.addf %x, %y : f32\ntm_tensor.yield %z : f32\n}"
    _pair(b, f"{text} -> {made[0].type}, {made[1].type}", made)


def _pair(b: Builder, text: str, made: Sequence[Tensor]) -> None:
    base = b.name()
    b.lines.append(f"{base}:2 = {text}")
    named = [Tensor(f"{base}#{number}", value.shape, value.element) for number, value in enumerate(made)]
    b.values += named
    b.unused |= {value.name: value for value in named}


def sort(b: Builder) -> None:
    """A tensor of numbers sorted along a dimension, and a second one in the order of the first."""
    value = b.any("i64", b.random.randint(1, 3))
    axis = b.random.randrange(len(value.shape))
    other = b.of(value.shape, "i64")
    text = f"tm_tensor.sort dimension({axis}) outs({_typed_pair(value, other)}) {{\n"
    text += "^bb0(%x: i64, %y: i64, %p: i64, %q: i64):\n%z = arith.cmpi sle, %x, %y : i64\n"
    _pair(b, f"{text}tm_tensor.yield %z : i1\n}} -> {value.type}, {other.type}", [value, other])


def computed_fill(b: Builder) -> None:
    """A tensor filled with a scalar that is read from another tensor."""
    value = b.any("f32", b.random.randint(0, 1))
    at = b.scalar("0", "index") if value.shape else ""
    name = b.name()
    b.lines.append(f"{name} = tensor.extract {value.name}[{at}] : {value.type}")
    shape = b.shape()
    type_ = Tensor("", shape, "f32").type
    b.emit(f"linalg.fill ins({name} : f32) outs({b.empty(shape, 'f32')} : {type_}) -> {type_}", shape, "f32")


def unknown(b: Builder) -> None:
    """An op without a sharding rule."""
    value = b.any("f32")
    b.emit(f"tensor.cast {value.name} : {value.type} to {value.type}", value.shape, "f32")
