"""Every decomposition of ours computes what the op itself computes, in double precision, options included."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from jogak.ingress.decompositions import OURS, decomposition_table

aten = torch.ops.aten
Case = tuple[Any, tuple[Any, ...], dict[str, Any]]


def real(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + sum(shape)))


def labels(bound: int, *shape: int) -> Tensor:
    return torch.randint(0, bound, shape, generator=torch.Generator().manual_seed(sum(shape)))


def case(op: Any, *args: Any, **kwargs: Any) -> Any:
    shapes = [tuple(a.shape) if isinstance(a, Tensor) else a for a in args]
    return pytest.param(op, args, kwargs, id=f"{op}{shapes}{kwargs or ''}".replace("aten.", "").replace(" ", ""))


def activations() -> Iterator[Any]:
    x, g = real(3, 5), real(3, 5, seed=1)
    for approximate in ("none", "tanh"):
        yield case(aten.gelu.default, x, approximate=approximate)
        yield case(aten.gelu_backward.default, g, x, approximate=approximate)
    yield case(aten.silu.default, x)
    yield case(aten.silu_backward.default, g, x)
    yield case(aten.hardtanh.default, 6 * x, 0.0, 6.0)
    yield case(aten.hardtanh_backward.default, g, 6 * x, 0.0, 6.0)
    for exponent in (1, 2, 3, 4, 2.0, 0.5, -0.5, -1, 5, 1.7):
        yield case(aten.pow.Tensor_Scalar, x.abs() + 0.1, exponent)
    yield case(aten.pow.Tensor_Scalar, labels(7, 4), 3)
    yield case(aten.native_dropout.default, x, 0.0, True)
    for op in (aten.bitwise_or.Scalar, aten.bitwise_xor.Scalar):
        yield case(op, labels(7, 4) - 3, 5)
    for op in (aten.bitwise_left_shift.Tensor_Scalar, aten.bitwise_right_shift.Tensor_Scalar):
        yield case(op, labels(7, 4) - 3, 2)


def losses() -> Iterator[Any]:
    for dim in (-1, 0, 1):
        x, g = 30 * real(3, 4, 5), real(3, 4, 5, seed=1)
        yield case(aten._softmax.default, x, dim, False)
        yield case(aten._log_softmax.default, x, dim, False)
        yield case(aten._softmax_backward_data.default, g, x.softmax(dim), dim, x.dtype)
        yield case(aten._log_softmax_backward_data.default, g, x.log_softmax(dim), dim, x.dtype)
    weight = real(7).abs()
    for reduction, ignored, weights in itertools.product((0, 1, 2), (-100, 2), (None, weight)):
        for shape, name in (((6,), "nll_loss"), ((), "nll_loss"), ((2, 3, 4), "nll_loss2d")):
            target = labels(7, *shape)
            if shape and ignored < 0:
                target.view(-1)[1] = ignored
            x = real(*shape[:1], 7, *shape[1:]).log_softmax(1 if shape else 0)
            forward, backward = (getattr(aten, f"{name}_{way}").default for way in ("forward", "backward"))
            yield case(forward, x, target, weights, reduction, ignored)
            out, total = forward(x, target, weights, reduction, ignored)
            yield case(backward, real(*out.shape), x, target, weights, reduction, ignored, total)


def norms() -> Iterator[Any]:
    x = real(4, 6, 3, 5) + 2
    g, weight, bias = real(4, 6, 3, 5, seed=1), real(6), real(6, seed=1)
    for dims, correction, keep in itertools.product(([1], [0, -1], None), (0, 1, 2, None), (False, True)):
        for op in (aten.var.correction, aten.std.correction, aten.var_mean.correction):
            yield case(op, x, dims, correction=correction, keepdim=keep)
    for shape, with_affine in itertools.product(([5], [3, 5]), (False, True)):
        affine = (real(*shape), real(*shape, seed=1)) if with_affine else (None, None)
        mask = [True, with_affine, with_affine]
        yield case(aten.native_layer_norm.default, x, shape, *affine, 1e-5)
        _, mean, rstd = aten.native_layer_norm.default(x, shape, *affine, 1e-5)
        yield case(aten.native_layer_norm_backward.default, g, x, shape, mean, rstd, *affine, mask)
    for group, affine in itertools.product((1, 2, 6), ((weight, bias), (None, None))):
        yield case(aten.native_group_norm.default, x, *affine, 4, 6, 15, group, 1e-5)
        _, mean, rstd = aten.native_group_norm.default(x, *affine, 4, 6, 15, group, 1e-5)
        mask = [True, affine[0] is not None, affine[0] is not None]
        yield case(aten.native_group_norm_backward.default, g, x, mean, rstd, affine[0], 4, 6, 15, group, mask)
    running = (real(6), real(6, seed=2).abs() + 0.5)
    yield from batch_norms(x, g, (weight, bias), running)
    yield from batch_norms(real(5, 6), real(5, 6, seed=1), (None, None), running)


def batch_norms(x: Tensor, g: Tensor, affine: tuple[Any, Any], running: tuple[Tensor, Tensor]) -> Iterator[Any]:
    yield case(aten._native_batch_norm_legit_functional.default, x, *affine, *running, True, 0.1, 1e-5)
    yield case(aten._native_batch_norm_legit_functional.default, x, *affine, *running, False, 0.1, 1e-5)
    yield case(aten._native_batch_norm_legit.no_stats, x, *affine, True, 0.1, 1e-5)
    yield case(aten._native_batch_norm_legit_no_training.default, x, *affine, *running, 0.1, 1e-5)
    yield case(aten.native_batch_norm.default, x, *affine, None, None, True, 0.1, 1e-5)
    _, mean, rstd = aten._native_batch_norm_legit.no_stats(x, *affine, True, 0.1, 1e-5)
    mask = [True, affine[0] is not None, affine[0] is not None]
    backward = aten.native_batch_norm_backward.default
    yield case(backward, g, x, affine[0], *running, mean, rstd, True, 1e-5, mask)
    yield case(backward, g, x, affine[0], *running, None, None, False, 1e-5, mask)


def max_pools() -> Iterator[Any]:
    ties = real(2, 3, 7, 8).relu()
    for size, stride, padding, dilation, ceil in (
        ([3, 3], [2, 2], [1, 1], [1, 1], False),
        ([2, 2], [], [0, 0], [1, 1], False),
        ([3, 2], [2, 1], [1, 0], [1, 2], True),
        ([2, 2], [3, 3], [1, 1], [2, 2], True),
        ([3], [2], [1], [1], True),
    ):
        options = (size, stride, padding, dilation, ceil)
        out, indices = aten.max_pool2d_with_indices.default(ties, *options)
        yield case(aten.max_pool2d_with_indices_backward.default, real(*out.shape), ties, *options, indices)
    x = real(2, 3, 4, 5, 6).relu()
    options = ([2, 3, 2], [2, 1, 2], [0, 1, 1], [1, 1, 1], False)
    out, indices = aten.max_pool3d_with_indices.default(x, *options)
    yield case(aten.max_pool3d_with_indices_backward.default, real(*out.shape), x, *options, indices)


def mean_pools() -> Iterator[Any]:
    x = real(2, 3, 7, 8)
    for size, stride, padding, ceil in (
        ([3, 3], [2, 2], [1, 1], False),
        ([2, 2], [], [0, 0], True),
        ([3], [2], [1], True),
    ):
        for include, divisor in ((True, None), (False, None), (True, 5)):
            options = (size, stride, padding, ceil, include, divisor)
            out = aten.avg_pool2d.default(x, *options)
            yield case(aten.avg_pool2d_backward.default, real(*out.shape), x, *options)
    for size in ([1, 1], [7, 4], [3, 5], [7, 8], [9, 3]):
        yield case(aten._adaptive_avg_pool2d.default, x, size)
        yield case(aten._adaptive_avg_pool2d_backward.default, real(2, 3, *size), x)
    x = real(1, 2, 4, 5, 6)
    yield case(aten._adaptive_avg_pool3d.default, x, [2, 3, 1])
    yield case(aten._adaptive_avg_pool3d_backward.default, real(1, 2, 2, 3, 1), x)
    options = ([2, 2, 3], [1, 2, 2], [1, 0, 1], False, False, None)
    out = aten.avg_pool3d.default(x, *options)
    yield case(aten.avg_pool3d_backward.default, real(*out.shape), x, *options)


def resampling() -> Iterator[Any]:
    shape = {1: (2, 3, 5), 2: (2, 3, 4, 5), 3: (1, 2, 3, 4, 5)}
    sizes = {1: ([10], [7], [3]), 2: ([8, 10], [6, 7], [2, 9]), 3: ([6, 8, 10], [4, 3, 7])}
    linear = {1: aten.upsample_linear1d, 2: aten.upsample_bilinear2d, 3: aten.upsample_trilinear3d}
    for rank in (1, 2, 3):
        for size in sizes[rank]:
            for name in ("upsample_nearest", "_upsample_nearest_exact"):
                yield case(getattr(aten, f"{name}{rank}d").default, real(*shape[rank]), size)
                backward = getattr(aten, f"{name}{rank}d_backward").default
                yield case(backward, real(*shape[rank][:2], *size), size, list(shape[rank]))
            for corners in (False, True):
                yield case(linear[rank].default, real(*shape[rank]), size, corners)
                backward = getattr(aten, f"{linear[rank].__name__}_backward").default
                yield case(backward, real(*shape[rank][:2], *size), size, list(shape[rank]), corners)
    yield case(aten.upsample_nearest2d.default, real(2, 3, 4, 5), [9, 12], 2.3, 2.5)
    yield case(aten.upsample_bilinear2d.default, real(2, 3, 4, 5), [9, 12], False, 2.3, 2.5)


def convolutions() -> Iterator[Any]:
    for sizes, weight, stride, padding, dilation, groups in (
        ((2, 4, 7, 8), (6, 4, 3, 3), [1, 1], [1, 1], [1, 1], 1),
        ((2, 4, 7, 8), (6, 4, 3, 2), [2, 3], [1, 0], [2, 1], 1),
        ((2, 4, 7, 8), (6, 4, 1, 1), [2, 2], [0, 0], [1, 1], 1),
        ((2, 4, 9, 7), (6, 4, 1, 1), [3, 1], [0, 0], [1, 1], 1),
        ((2, 4, 8, 8), (6, 4, 3, 3), [2, 2], [1, 1], [1, 1], 1),
        ((2, 4, 8, 9), (6, 4, 3, 5), [2, 3], [1, 2], [1, 1], 1),
        ((2, 4, 7, 8), (6, 4, 1, 1), [1, 1], [2, 2], [1, 1], 1),
        ((2, 4, 8, 9), (6, 4, 2, 3), [2, 3], [0, 0], [1, 1], 1),
        ((2, 4, 9, 9), (6, 4, 4, 4), [4, 4], [0, 0], [1, 1], 1),
        ((2, 4, 7, 8), (6, 2, 3, 3), [2, 2], [1, 1], [1, 1], 2),
        ((2, 4, 7, 8), (4, 1, 3, 3), [1, 1], [1, 1], [1, 1], 4),
        ((2, 4, 7, 8), (8, 1, 5, 3), [2, 1], [2, 1], [1, 2], 4),
        ((2, 4, 9), (6, 4, 3), [2], [1], [1], 1),
        ((2, 4, 9), (6, 2, 3), [1], [2], [2], 2),
        ((2, 2, 4, 5, 6), (3, 2, 2, 3, 2), [1, 2, 1], [0, 1, 1], [1, 1, 2], 1),
    ):
        rank = len(stride)
        for bias in (None, real(weight[0])):
            options = (stride, padding, dilation, False, [0] * rank, groups)
            x, w = real(*sizes), real(*weight)
            yield case(aten.convolution.default, x, w, bias, *options)
            out = aten.convolution.default(x, w, bias, *options)
            bias_sizes = None if bias is None else [weight[0]]
            mask = [True, True, bias is not None]
            yield case(aten.convolution_backward.default, real(*out.shape), x, w, bias_sizes, *options, mask)


def transposed_convolutions() -> Iterator[Any]:
    for sizes, weight, stride, padding, dilation, extra, groups in (
        ((2, 4, 5, 6), (4, 3, 2, 2), [2, 2], [0, 0], [1, 1], [0, 0], 1),
        ((2, 4, 5, 6), (4, 3, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1], 1),
        ((2, 4, 5, 6), (4, 2, 3, 2), [2, 1], [0, 1], [1, 2], [1, 0], 2),
        ((2, 4, 5, 6), (4, 1, 4, 4), [2, 2], [1, 1], [1, 1], [0, 0], 4),
        ((2, 4, 5), (4, 3, 4), [3], [2], [1], [1], 1),
    ):
        x, w, bias = real(*sizes), real(*weight), real(weight[1] * groups)
        options = (stride, padding, dilation, True, extra, groups)
        yield case(aten.convolution.default, x, w, bias, *options)
        out = aten.convolution.default(x, w, bias, *options)
        mask = [True, True, True]
        yield case(aten.convolution_backward.default, real(*out.shape), x, w, [bias.numel()], *options, mask)


def indexing() -> Iterator[Any]:
    index, g = labels(7, 3, 4), real(3, 4, 5)
    for padding, by_frequency in ((-1, False), (2, False), (-1, True), (2, True)):
        yield case(aten.embedding_dense_backward.default, g, index, 7, padding, by_frequency)
    for x, where, values in (
        (real(3, 6, 2), [None, labels(6, 4)], real(3, 4, 2)),
        (real(3, 2, 6), [None, None, labels(6, 2, 2)], real(3, 2, 2, 2)),
        (real(3, 6), [None, labels(6, 4)], real(1)),
    ):
        yield case(aten.index_put.default, x, where, values, True)
    for dim, start, end, step in ((0, 1, 3, 1), (1, -3, 9, 1), (-1, 0, 7, 3), (1, 1, 6, 2), (0, 2, 4, 2)):
        x = real(4, 6, 7)
        out = aten.slice.Tensor(x, dim, start, end, step)
        yield case(aten.slice_backward.default, real(*out.shape), [4, 6, 7], dim, start, end, step)
    for dim, position in ((0, 0), (1, -1), (-1, 3)):
        shape = [size for i, size in enumerate((4, 6, 7)) if i != dim % 3]
        yield case(aten.select_backward.default, real(*shape), [4, 6, 7], dim, position)
    for op, x, diagonal in itertools.product(
        (aten.triu.default, aten.tril.default), (real(2, 4, 5), real(4, 5) > 0, labels(9, 4, 5)), (-2, 0, 1)
    ):
        yield case(op, x, diagonal)
    mask = real(2, 4) > 0
    yield case(aten.masked_fill.Scalar, real(2, 4), mask, -torch.inf)
    yield case(aten.masked_fill.Scalar, labels(5, 2, 4), mask, 7)
    yield case(aten.masked_fill.Tensor, real(2, 4), mask, torch.tensor(3.0))
    yield case(aten.split.Tensor, real(2, 7), 3, 1)
    yield case(aten.split_with_sizes.default, real(2, 7), [1, 4, 2], -1)
    yield case(aten.unbind.int, real(2, 3, 4), 1)
    for shifts, dims in (([2], [1]), ([-1, 9], [0, -1]), ([5], []), ([0, 0], [0, 1]), ([3], [0])):
        yield case(aten.roll.default, real(3, 5), shifts, dims)


def products() -> Iterator[Any]:
    yield case(aten.mv.default, real(3, 4), real(4))
    for options in ({}, {"beta": 0.5, "alpha": 2}, {"beta": 0}):
        yield case(aten.addmm.default, real(5), real(3, 4), real(4, 5), **options)
        yield case(aten.addmm.default, real(3, 5), real(3, 4), real(4, 5), **options)
        yield case(aten.baddbmm.default, real(2, 3, 5), real(2, 3, 4), real(2, 4, 5), **options)
        yield case(aten.addmv.default, real(3), real(3, 4), real(4), **options)


def reductions() -> Iterator[Any]:
    yield case(aten.sum.default, real(3, 4))
    yield case(aten.mean.default, real(3, 4))
    for dims, keep in itertools.product(([0], [-1, 0]), (False, True)):
        yield case(aten.sum.dim_IntList, real(3, 5, 4), dims, keep)
        yield case(aten.mean.dim, real(3, 5, 4), dims, keep)


def scalars() -> Iterator[Any]:
    for op in (aten.add, aten.sub, aten.mul, aten.div):
        yield case(op.Tensor, real(3, 4), 1 / 3)
        yield case(op.Scalar, real(3, 4), 1 / 3)
    yield case(aten.rsub.Scalar, real(3, 4), 1 / 3, 2)


def selection() -> Iterator[Any]:
    x = real(3, 5, 4).mul(4).round()
    for dims, keep in itertools.product(([0], [-1, 0], []), (False, True)):
        yield case(aten.amax.default, x, dims, keep)
        yield case(aten.amin.default, x, dims, keep)
    for op, dim, keep in itertools.product((aten.max.dim, aten.min.dim), (0, -1), (False, True)):
        yield case(op, x, dim, keep)
    for op, dim, keep in itertools.product((aten.argmax.default, aten.argmin.default), (None, 1, -1), (False, True)):
        yield case(op, x, dim, keep)
    distinct = torch.randperm(60, generator=torch.Generator().manual_seed(0)).view(3, 5, 4).double()
    for k, dim, largest in ((1, -1, True), (2, 1, True), (2, -1, False)):
        yield case(aten.topk.default, distinct, k, dim, largest)
    for dim in (0, 1, -1):
        shape = [2 if i == dim % 3 else size for i, size in enumerate(x.shape)]
        index = torch.argsort(real(*x.shape), dim).narrow(dim, 0, 2)
        yield case(aten.gather.default, x, dim, index)
        yield case(aten.scatter_add.default, x, dim, index[:, :1] * 0 + index, real(*shape))
        yield case(aten.scatter.src, x, dim, index, real(*shape))
        yield case(aten.scatter.value, x, dim, index, 9.0)
    repeated = labels(5, 3, 2, 4)
    yield case(aten.scatter_add.default, x, 1, repeated, real(3, 2, 4))
    yield case(aten.gather.default, x, 1, labels(5, 3, 9, 4))
    yield case(aten.gather.default, x > 0, 1, repeated)


GROUPS: list[Callable[[], Iterator[Any]]] = [
    activations,
    losses,
    norms,
    max_pools,
    mean_pools,
    resampling,
    convolutions,
    transposed_convolutions,
    indexing,
    products,
    reductions,
    scalars,
    selection,
]


@pytest.mark.parametrize(("op", "args", "kwargs"), [each for group in GROUPS for each in group()])
def test_equals_the_op(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    tensors, structure = pytree.tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(tensors) if isinstance(leaf, Tensor)]

    def call(*given: Tensor) -> Any:
        leaves = list(tensors)
        for place, value in zip(places, given, strict=True):
            leaves[place] = value
        new_args, new_kwargs = pytree.tree_unflatten(leaves, structure)
        return op(*new_args, **new_kwargs)

    inputs = [tensors[place] for place in places]
    graph = make_fx(call, decomposition_table=decomposition_table(), tracing_mode="fake")(*inputs)
    got, expected = (pytree.tree_leaves(each) for each in (graph(*inputs), call(*inputs)))
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        if isinstance(theirs, Tensor) and theirs.numel():
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12, equal_nan=True)


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[int], tuple[Any, ...]]:
    """Sizes of an image, and the window, stride, padding, dilation and rounding of a pooling that PyTorch accepts."""
    pairs = [st.lists(st.integers(1, most), min_size=2, max_size=2) for most in (9, 4, 4, 2)]
    size, kernel, stride, dilation = (draw(each) for each in pairs)
    padding = [draw(st.integers(0, each // 2)) for each in kernel]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    assume(all(s + 2 * p >= r for s, p, r in zip(size, padding, reach, strict=True)))
    return size, (kernel, stride, padding, dilation, draw(st.booleans()))


@settings(max_examples=200, deadline=None)
@given(windows(), st.integers(0, 1000))
def test_the_gradient_of_any_largest_one_with_ties(drawn: tuple[list[int], tuple[Any, ...]], seed: int) -> None:
    size, options = drawn
    x = torch.randint(0, 3, (2, 2, *size), generator=torch.Generator().manual_seed(seed)).double()
    out, indices = aten.max_pool2d_with_indices.default(x, *options)
    backward = aten.max_pool2d_with_indices_backward.default
    for count, n, k, s, p, d in zip(out.shape[2:], size, *options[:4], strict=True):
        starts = [at * s - p for at in range(count)]
        assume(all(any(0 <= start + step * d < n for step in range(k)) for start in starts))  # else PyTorch crashes
    grad = real(*out.shape, seed=seed)
    ours = decomposition_table()[backward](grad, x, *options, indices)
    torch.testing.assert_close(ours, backward(grad, x, *options, indices), rtol=1e-12, atol=1e-13)


def test_every_entry_is_tested() -> None:
    tested = {param.values[0] for group in GROUPS for param in group()}
    ours = {op for registry in OURS for op in registry.table}
    assert ours - tested == set()


def test_no_statistic_goes_through_another_type() -> None:
    x = torch.ones(4, 6)
    graph = make_fx(lambda x: aten.var_mean.correction(x, [1]), decomposition_table=decomposition_table())(x)
    types = {node.meta["val"].dtype for node in graph.graph.nodes if isinstance(node.meta.get("val"), Tensor)}
    assert types == {torch.float32}


def test_large_gathers_stay() -> None:
    x, index = real(3, 5), labels(5, 3, 9)
    graph = make_fx(lambda x, i: x.gather(1, i), decomposition_table=decomposition_table())(x, index)
    assert any(node.target is aten.gather.default for node in graph.graph.nodes)


@pytest.mark.parametrize("op", [aten.sum.default, aten.sum.dim_IntList, aten.mean.default, aten.mean.dim])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_floats_are_summed_in_f32_and_rounded_once(op: Any, dtype: torch.dtype) -> None:
    args = () if op in (aten.sum.default, aten.mean.default) else ([0],)
    x = real(300, 7).to(dtype)
    graph = make_fx(lambda x: op(x, *args), decomposition_table=decomposition_table())(x)
    (reduced,) = (node for node in graph.graph.nodes if node.target is op)
    assert reduced.meta["val"].dtype is torch.float32
    torch.testing.assert_close(graph(x), op(x.float(), *args).to(dtype), rtol=0, atol=0)


def test_sums_of_integers_and_wide_results_stay() -> None:
    def total(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return aten.sum.default(x), aten.sum.default(y, dtype=torch.float32)

    graph = make_fx(total, decomposition_table=decomposition_table())(labels(5, 4), real(4).bfloat16())
    calls = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert calls == [aten.sum.default, aten.sum.default]


def test_numbers_are_not_rounded_to_narrow_tensors() -> None:
    x = real(1000).bfloat16()
    graph = make_fx(lambda x: x / 8**0.5, decomposition_table=decomposition_table())(x)
    (divided,) = (node for node in graph.graph.nodes if node.target is aten.div.Tensor)
    assert divided.meta["val"].dtype is torch.float32
    torch.testing.assert_close(graph(x), x / 8**0.5, rtol=0, atol=0)


def test_numbers_that_a_narrow_tensor_holds_stay() -> None:
    graph = make_fx(lambda x: x * 0.5, decomposition_table=decomposition_table())(real(4).bfloat16())
    assert [node.op for node in graph.graph.nodes] == ["placeholder", "call_function", "output"]
