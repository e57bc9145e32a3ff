"""Parts of random programs that single ops seldom make: windows on one value, heads of attention, sums side by side."""

from __future__ import annotations

from jogak.testing.random_kinds import accumulator, identity
from jogak.testing.random_programs import Builder, Operand, Tensor


def padded_windows(b: Builder) -> None:
    """Several windows on one value along one dimension, most of them behind a pad: a convolution and its like."""
    batch, length, channels = b.random.choice((1, 2)), b.size() + 2, b.random.choice((1, 2))
    source = b.of((batch, length, channels), "f32")
    for _ in range(b.random.randint(2, 3)):
        low, high = b.random.randint(0, 2), b.random.randint(0, 2)
        read, have = source, length
        if b.chance(0.8):
            border = b.random.choice((0, 1)), (low, high)
            read, have = _padded(b, source, border), length + low + high
        stride, kernel = b.random.choice((1, 1, 2)), b.random.choice((1, 2, 3))
        start = b.random.randint(0, 1)
        out = (have - kernel - start) // stride + 1
        if kernel == 1 and out > 0:
            shape = (read.shape[0], out, channels)
            box = f"[0, {start}, 0] [{shape[0]}, {out}, {channels}] [1, {stride}, 1]"
            type_ = Tensor("", shape, "f32").type
            b.emit(f"tensor.extract_slice {read.name}{box} : {read.type} to {type_}", shape, "f32")
        elif out > 0:
            inputs: list[Operand] = [
                (read, ["d0", f"d1 * {stride} + d2 + {start}", "d3"]),
                (b.init((kernel,), "f32"), ["d2"]),
            ]
            output = (accumulator(b, (read.shape[0], out, channels), "maximumf", "f32"), ["d0", "d1", "d3"])
            kinds = ["parallel", "parallel", "reduction", "parallel"]
            b.generic(kinds, inputs, [output], ["%s = arith.maximumf %o0, %a0 : f32"], ["%s"])


def _padded(b: Builder, value: Tensor, border: tuple[int, tuple[int, int]]) -> Tensor:
    """A value with a border along dimension 1, by chance along dimension 0, too."""
    also, (before, behind) = border
    shape = (value.shape[0] + also, value.shape[1] + before + behind, value.shape[2])
    constant = b.scalar("0.5", "f32")
    region = f"{{\n^bb0(%p0: index, %p1: index, %p2: index):\ntensor.yield {constant} : f32\n}}"
    lists = f"low[0, {before}, 0] high[{also}, {behind}, 0]"
    type_ = Tensor("", shape, "f32").type
    return b.read(b.emit(f"tensor.pad {b.read(value).name} {lists} {region} : {value.type} to {type_}", shape, "f32"))


def heads(b: Builder) -> None:
    """A dimension taken apart as attention does it, with few groups in front; by chance put together again."""
    groups, shared, width = b.random.choice((2, 2, 3, 4, 6)), b.random.choice((1, 2, 4)), b.random.choice((2, 4))
    batch = b.random.choice((1, 2))
    value = b.of((batch, groups * shared * width), "f32")
    parts = [groups, shared, width] if shared > 1 else [groups, width]
    fine = Tensor("", (batch, *parts), "f32")
    members = f"[[0], [{', '.join(str(1 + n) for n in range(len(parts)))}]]"
    sizes = f"[{', '.join(map(str, fine.shape))}]"
    text = f"tensor.expand_shape {value.name} {members} output_shape {sizes} : {value.type} into {fine.type}"
    made = b.emit(text, fine.shape, "f32")
    loops = list(fine.shape)
    inputs: list[Operand] = [(b.read(made), identity(loops)), b.aligned(loops, "f32")]
    output = (b.init(loops, "f32"), identity(loops))
    scaled = b.generic(["parallel"] * len(loops), inputs, [output], ["%t = arith.mulf %a0, %a1 : f32"], ["%t"])[0]
    if b.chance(0.5):
        text = f"tensor.collapse_shape {b.read(scaled).name} {members} : {fine.type} into {value.type}"
        b.emit(text, value.shape, "f32")


def gradients(b: Builder) -> None:
    """Sums over one dimension of one value with several others, none of which needs another: they share a bucket."""
    rows = b.random.choice((4, 6, 8))
    value = b.of((rows, b.random.choice((1, 2, 3))), "f32")
    for _ in range(b.random.randint(2, 3)):
        other = b.argument((rows, b.random.choice((1, 2, 4))), "f32")
        output = (accumulator(b, (value.shape[1], other.shape[1]), "addf", "f32"), ["d1", "d2"])
        body = ["%m = arith.mulf %a0, %a1 : f32", "%s = arith.addf %o0, %m : f32"]
        inputs: list[Operand] = [(b.read(value), ["d0", "d1"]), (other, ["d0", "d2"])]
        b.generic(["reduction", "parallel", "parallel"], inputs, [output], body, ["%s"])
