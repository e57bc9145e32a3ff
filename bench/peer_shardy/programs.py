"""The programs of the comparison with Shardy: functions of JAX with shapes and shardings, on a mesh of 4 × 2.

Runs in the environment of JAX. Each entry has a name, a function, inputs as (shape, sharding) and, where the results are
asked to lie in some way, their shardings. A sharding is written as in Jogak: `[x, _]`, `?` for open.
"""
# ruff: noqa: E501  (a program a line)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

MESH = {"x": 4, "y": 2}
INT = "i32"


@dataclass(frozen=True)
class Program:
    """One program of the list."""

    name: str
    function: Callable[..., Any]
    inputs: Sequence[tuple[tuple[int, ...], str] | tuple[tuple[int, ...], str, str]]
    results: Sequence[str | None] = ()
    window: bool = False
    """Whether devices need what lies on others, which Shardy can leave to the partitioner behind it."""
    mesh: tuple[tuple[str, int], ...] = tuple(MESH.items())


def where(condition, a, b):
    return lax.select(condition, jnp.broadcast_to(a, condition.shape), jnp.full(condition.shape, b))


def relu(x):
    return lax.max(x, jnp.zeros_like(x))


def square(x):
    return x * x  # an op of StableHLO, not of CHLO, for which Shardy has no rule


def mlp(x, u, d):
    return relu(x @ u) @ d


def mlp_loss(x, u, d, t):
    return jnp.sum(square(mlp(x, u, d) - t))


def mlp_step(x, u, d, t):
    """One step of gradient descent."""
    du, dd = jax.grad(mlp_loss, argnums=(1, 2))(x, u, d, t)
    return u - 0.1 * du, d - 0.1 * dd


def softmax(x):
    e = jnp.exp(x - jnp.max(x, axis=-1, keepdims=True))
    return e / jnp.sum(e, axis=-1, keepdims=True)


def layer_norm(x, g):
    m = jnp.mean(x, axis=-1, keepdims=True)
    v = jnp.mean(square(x - m), axis=-1, keepdims=True)
    return (x - m) * lax.rsqrt(v + 1e-5) * g


def heads(x, w, n):
    b, s, _ = x.shape
    return (x @ w).reshape(b, s, n, -1)


def attention(x, q, k, v, o):
    """Four heads, no mask."""
    b, s, d = x.shape
    a = softmax(jnp.einsum("bqhd,bkhd->bhqk", heads(x, q, 4), heads(x, k, 4)))
    return jnp.einsum("bhqk,bkhd->bqhd", a, heads(x, v, 4)).reshape(b, s, d) @ o


def block(x, g1, q, k, v, o, g2, u, d):
    """A transformer layer."""
    x = x + attention(layer_norm(x, g1), q, k, v, o)
    return x + mlp(layer_norm(x, g2), u, d)


def block_loss(*args):
    return jnp.sum(square(block(*args)))


def block_step(x, *weights):
    """The gradients of all weights of a transformer layer."""
    return jax.grad(block_loss, argnums=tuple(range(1, 9)))(x, *weights)


def one_hot_embedding(tokens, table):
    hot = (lax.broadcasted_iota(jnp.int32, (*tokens.shape, table.shape[0]), 2) == tokens[..., None]).astype(jnp.float32)
    return jnp.einsum("bsv,vd->bsd", hot, table)


def cross_entropy(logits, labels):
    shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
    total = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    hot = lax.broadcasted_iota(jnp.int32, logits.shape, 1) == labels[:, None]
    return jnp.sum(total - jnp.sum(where(hot, shifted, 0.0), axis=-1))


def take_rows(table, rows):
    dims = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))
    return lax.gather(table, rows[:, None], dims, (1, table.shape[1]), mode="clip")


def conv(x, w, stride=1, padding="SAME", groups=1):
    names = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=names, feature_group_count=groups
    )


def mixture(x, gate, up, down):
    """Experts on all tokens, weighted by a gate: dense dispatch."""
    weights = softmax(x @ gate)
    h = relu(jnp.einsum("td,edf->etf", x, up))
    return jnp.einsum("etf,efd,te->td", h, down, weights)


B, S, D, F, V = 16, 64, 256, 1024, 2048
LAYER = ((D,), (D, D), (D, D), (D, D), (D, D), (D,), (D, F), (F, D))


def layer(batch: str, column: str, row: str, gain: str = "[_]") -> list[tuple[tuple[int, ...], str]]:
    """The inputs of a transformer layer."""
    specs = (gain, column, column, column, row, gain, column, row)
    return [((B, S, D), batch), *zip(LAYER, specs, strict=True)]


PROGRAMS = [
    # contractions
    Program("dot rows", jnp.matmul, [((512, 256), "[x, _]"), ((256, 128), "[_, _]")]),
    Program("dot rows and columns", jnp.matmul, [((512, 256), "[x, _]"), ((256, 128), "[_, y]")]),
    Program("dot contraction", jnp.matmul, [((512, 256), "[_, x]"), ((256, 128), "[x, _]")]),
    Program("dot contraction, result split", jnp.matmul, [((512, 256), "[_, y]"), ((256, 128), "[y, _]")], ["[y, _]"]),
    Program("dot contraction by two axes", jnp.matmul, [((512, 256), "[_, x y]"), ((256, 128), "[x y, _]")]),
    Program("dot rows and contraction", jnp.matmul, [((512, 256), "[x, y]"), ((256, 128), "[y, _]")]),
    Program("dot of S3", jnp.matmul, [((512, 256), "[x, y]"), ((256, 128), "[y, x]")], ["[x, _]"]),
    Program("dot one axis on both sides", jnp.matmul, [((512, 256), "[x, _]"), ((256, 128), "[_, x]")]),
    Program("dot contraction on one side", jnp.matmul, [((512, 256), "[_, x]"), ((256, 128), "[_, _]")]),
    Program("dot rows against contraction", jnp.matmul, [((512, 256), "[x, _]"), ((256, 128), "[x, _]")]),
    Program("dot batched", jnp.matmul, [((8, 64, 128), "[x, _, _]"), ((8, 128, 64), "[x, _, _]")]),
    Program("dot batch against columns", jnp.matmul, [((8, 64, 128), "[x, _, _]"), ((8, 128, 64), "[_, _, x]")]),
    Program("dot crossed axes", jnp.matmul, [((512, 256), "[x, y]"), ((256, 128), "[x, y]")]),
    Program("dot crossed axes, result given", jnp.matmul, [((512, 256), "[x, y]"), ((256, 128), "[x, y]")], ["[x, y]"]),
    Program("sum of two partial products", lambda a, b, c, d: a @ b + c @ d,
            [((512, 256), "[_, x]"), ((256, 128), "[x, _]"), ((512, 256), "[_, x]"), ((256, 128), "[x, _]")]),
    Program("partial product and a bias", lambda a, b, c: a @ b + c,
            [((512, 256), "[_, x]"), ((256, 128), "[x, _]"), ((128,), "[_]")]),
    Program("three products", lambda a, b, c, d: ((a @ b) @ c) @ d,
            [((512, 256), "[_, _]"), ((256, 256), "[_, x]"), ((256, 256), "[x, _]"), ((256, 128), "[_, y]")]),
    Program("outer product", jnp.outer, [((512,), "[x]"), ((256,), "[y]")]),
    # layers
    Program("mlp, tensor parallel", mlp, [((B, D), "[_, _]"), ((D, F), "[_, x]"), ((F, D), "[x, _]")]),
    Program("mlp, data and tensor parallel", mlp, [((B, D), "[y, _]"), ((D, F), "[_, x]"), ((F, D), "[x, _]")]),
    Program("mlp, sequence parallel", mlp,
            [((512, D), "[x, _]"), ((D, F), "[_, x]"), ((F, D), "[x, _]")], ["[x, _]"]),
    Program("mlp, weights fully sharded", mlp, [((512, D), "[x, _]"), ((D, F), "[x, _]"), ((F, D), "[x, _]")]),
    Program("softmax, rows", softmax, [((512, 256), "[x, _]")]),
    Program("softmax, along the split", softmax, [((512, 256), "[_, x]")]),
    Program("layer norm, rows", layer_norm, [((512, 256), "[x, _]"), ((256,), "[_]")]),
    Program("layer norm, along the split", layer_norm, [((512, 256), "[_, x]"), ((256,), "[x]")]),
    Program("attention, heads", attention, layer("[_, _, _]", "[_, x]", "[x, _]")[:1] + layer("", "[_, x]", "[x, _]")[2:6]),
    Program("attention, batch", attention, layer("[x, _, _]", "[_, _]", "[_, _]")[:1] + layer("", "[_, _]", "[_, _]")[2:6]),
    Program("attention, sequence", attention, layer("[_, x, _]", "[_, _]", "[_, _]")[:1] + layer("", "[_, _]", "[_, _]")[2:6]),
    Program("attention, batch and heads", attention, layer("[y, _, _]", "[_, x]", "[x, _]")[:1] + layer("", "[_, x]", "[x, _]")[2:6]),
    Program("transformer layer, tensor parallel", block, layer("[_, _, _]", "[_, x]", "[x, _]")),
    Program("transformer layer, data and tensor", block, layer("[y, _, _]", "[_, x]", "[x, _]")),
    Program("experts, expert parallel", mixture,
            [((256, D), "[_, _]"), ((D, 8), "[_, _]"), ((8, D, F), "[x, _, _]"), ((8, F, D), "[x, _, _]")]),
    Program("experts, expert and data parallel", mixture,
            [((256, D), "[y, _]"), ((D, 8), "[_, _]"), ((8, D, F), "[x, _, _]"), ((8, F, D), "[x, _, _]")]),
    Program("embedding by one-hot, vocabulary", one_hot_embedding, [((8, 32), "[_, _]", INT), ((V, D), "[x, _]")]),
    Program("embedding by gather, columns", take_rows, [((V, D), "[_, x]"), ((64,), "[_]", INT)]),
    Program("embedding by gather, vocabulary", take_rows, [((V, D), "[x, _]"), ((64,), "[_]", INT)]),
    Program("embedding by gather, batch", take_rows, [((V, D), "[_, _]"), ((64,), "[x]", INT)]),
    Program("cross entropy, batch", cross_entropy, [((128, V), "[x, _]"), ((128,), "[x]", INT)]),
    Program("cross entropy, vocabulary", cross_entropy, [((128, V), "[_, x]"), ((128,), "[_]", INT)]),
    # training
    Program("mlp step, data parallel", mlp_step,
            [((512, D), "[x, _]"), ((D, F), "[_, _]"), ((F, D), "[_, _]"), ((512, D), "[x, _]")], ["[_, _]", "[_, _]"]),
    Program("mlp step, tensor parallel", mlp_step,
            [((512, D), "[_, _]"), ((D, F), "[_, x]"), ((F, D), "[x, _]"), ((512, D), "[_, _]")], ["[_, x]", "[x, _]"]),
    Program("mlp step, data and tensor", mlp_step,
            [((512, D), "[y, _]"), ((D, F), "[_, x]"), ((F, D), "[x, _]"), ((512, D), "[y, _]")], ["[_, x]", "[x, _]"]),
    Program("mlp step, weights fully sharded", mlp_step,
            [((512, D), "[x, _]"), ((D, F), "[x, _]"), ((F, D), "[x, _]"), ((512, D), "[x, _]")], ["[x, _]", "[x, _]"]),
    Program("transformer layer gradients, data", block_step, layer("[x, _, _]", "[_, _]", "[_, _]"), ["[_]", *["[_, _]"] * 4, "[_]", "[_, _]", "[_, _]"]),
    Program("transformer layer gradients, tensor", block_step, layer("[_, _, _]", "[_, x]", "[x, _]"), ["[_]", *["[_, x]"] * 3, "[x, _]", "[_]", "[_, x]", "[x, _]"]),
    Program("transformer layer gradients, data and tensor", block_step, layer("[y, _, _]", "[_, x]", "[x, _]"), ["[_]", *["[_, x]"] * 3, "[x, _]", "[_]", "[_, x]", "[x, _]"]),
    # convolutions
    Program("convolution, batch", conv, [((16, 16, 16, 32), "[x, _, _, _]"), ((3, 3, 32, 64), "[_, _, _, _]")]),
    Program("convolution, input channels", conv, [((4, 16, 16, 32), "[_, _, _, x]"), ((3, 3, 32, 64), "[_, _, x, _]")]),
    Program("convolution, output channels", conv, [((4, 16, 16, 32), "[_, _, _, _]"), ((3, 3, 32, 64), "[_, _, _, x]")]),
    Program("convolution, height", lambda x, w: conv(x, w, 1, "VALID"), [((4, 34, 16, 32), "[_, x, _, _]"), ((3, 3, 32, 64), "[_, _, _, _]")], window=True),
    # data movement
    Program("transpose", jnp.transpose, [((512, 256), "[x, y]")]),
    Program("result on another dimension", lambda a: a + 1.0, [((512, 256), "[x, _]")], ["[_, x]"]),
    Program("result with two axes swapped", lambda a: a + 1.0, [((512, 256), "[x, y]")], ["[y, x]"]),
    Program("result less split", lambda a: a + 1.0, [((512, 256), "[x y, _]")], ["[x, _]"]),
    Program("result less split, outer axis", lambda a: a + 1.0, [((512, 256), "[x y, _]")], ["[y, _]"]),
    Program("result on the other axis", lambda a: a + 1.0, [((512, 256), "[x, _]")], ["[y, _]"]),
    Program("result with axes in another order", lambda a: a + 1.0, [((512, 256), "[x y, _]")], ["[y x, _]"]),
    Program("result of two axes elsewhere", lambda a: a + 1.0, [((16, 16, 16), "[y, _, x]")], ["[_, x y, _]"]),
    Program("result whole", lambda a: a + 1.0, [((512, 256), "[x, y]")], ["[_, _]"]),
    Program("reshape, merge", lambda a: a.reshape(512, 64), [((8, 64, 64), "[x, _, _]")]),
    Program("reshape, merge the minor", lambda a: a.reshape(512, 64), [((8, 64, 64), "[_, x, _]")]),
    Program("reshape, split", lambda a: a.reshape(8, 64, 64), [((512, 64), "[x, _]")]),
    Program("reshape, split by two", lambda a: a.reshape(4, 128, 64), [((512, 64), "[x y, _]")]),
    Program("reshape, axis over two dimensions", lambda a: a.reshape(2, 4, 64), [((8, 64), "[x, _]")]),
    Program("sum along the split", lambda a: jnp.sum(a, axis=0), [((512, 256), "[x, y]")]),
    Program("maximum along the split", lambda a: jnp.max(a, axis=1), [((512, 256), "[y, x]")]),
    Program("sum of everything", jnp.sum, [((512, 256), "[x, y]")]),
    Program("concatenate, other dimension", lambda a, b: jnp.concatenate([a, b], 1), [((512, 64), "[x, _]"), ((512, 64), "[x, _]")]),
    Program("slice, other dimension", lambda a: a[:, :64], [((512, 256), "[x, _]")]),
    Program("slice along the split", lambda a: a[1:511], [((512, 256), "[x, _]")]),
    Program("pad along the split", lambda a: lax.pad(a, 0.0, ((1, 1, 0), (0, 0, 0))), [((510, 256), "[x, _]")], window=True),
    Program("elementwise, disagreeing", lambda a, b: a + b, [((512, 256), "[x, _]"), ((512, 256), "[_, x]")]),
    Program("elementwise, disagreeing sizes", lambda a, b: a + b[None, :], [((512, 256), "[x, _]"), ((256,), "[x]")]),
    Program("broadcast", lambda a, b: a * b[:, None], [((512, 256), "[x, y]"), ((512,), "[x]")]),
    Program("causal mask", lambda a: where(lax.broadcasted_iota(jnp.int32, (256, 256), 0) >= lax.broadcasted_iota(jnp.int32, (256, 256), 1), a, -1e9), [((256, 256), "[x, y]")]),
]  # fmt: skip
