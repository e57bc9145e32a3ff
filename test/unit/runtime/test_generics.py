"""Structured ops: which torch calls they become, and that these compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jogak.runtime.kernels.build import build
from jogak.runtime.program import KernelStep, Program


@pytest.fixture
def calls(load: Callable[[str], Program]) -> Callable[[str], set[str]]:
    """The names of the functions that the kernels of a program call."""

    def names(text: str) -> set[str]:
        specs = [step.spec for step in load(text).steps if isinstance(step, KernelStep)]
        nodes = [node for spec in specs for node in build(spec).graph.nodes if node.op.startswith("call")]
        return {getattr(node.target, "__name__", str(node.target)) for node in nodes}

    return names


def tensor_type(shape: Any, element: str = "f32") -> str:
    return f"tensor<{''.join(f'{size}x' for size in shape)}{element}>"


def named(op: str, inputs: list[Any], output: Any, element: str = "f32") -> str:
    """A named linalg op with the output's initial value as its last argument."""
    types = [tensor_type(shape, element) for shape in inputs]
    result = tensor_type(output, element)
    arguments = ", ".join(f"%x{k}: {type_}" for k, type_ in enumerate([*types, result]))
    operands = ", ".join(f"%x{k}" for k in range(len(types)))
    return f"""func.func @main({arguments}) -> {result} {{
      %y = {op} ins({operands} : {", ".join(types)}) outs(%x{len(types)} : {result}) -> {result}
      return %y : {result}
    }}"""


def generic(
    maps: list[str], kinds: str, inputs: list[str], outputs: list[str], body: str, block: str, loops: int
) -> str:
    """A generic op; `kinds` has `p` or `r` for each loop; outputs are arguments behind the inputs."""
    dims = ", ".join(f"d{k}" for k in range(loops))
    affine = ", ".join(f"affine_map<({dims}) -> ({map_})>" for map_ in maps)
    iterators = ", ".join({"p": '"parallel"', "r": '"reduction"'}[kind] for kind in kinds)
    arguments = ", ".join(f"%x{k}: {type_}" for k, type_ in enumerate([*inputs, *outputs]))
    ins = ", ".join(f"%x{k}" for k in range(len(inputs)))
    outs = ", ".join(f"%x{k + len(inputs)}" for k in range(len(outputs)))
    ins_text = f"ins({ins} : {', '.join(inputs)})" if inputs else ""
    results = f"({', '.join(outputs)})"
    count = f":{len(outputs)}" if len(outputs) > 1 else ""
    values = ", ".join(f"%y#{k}" for k in range(len(outputs))) if count else "%y"
    return f"""func.func @main({arguments}) -> {results} {{
      %y{count} = linalg.generic {{indexing_maps = [{affine}], iterator_types = [{iterators}]}}
        {ins_text} outs({outs} : {", ".join(outputs)}) {{
      ^bb0({block}):
        {body}
      }} -> {results}
      return {values} : {", ".join(outputs)}
    }}"""


MULTIPLY_ADD = "%p = arith.mulf %a, %b : f32\n%r = arith.addf %o, %p : f32\nlinalg.yield %r : f32"
THREE = "%a: f32, %b: f32, %o: f32"


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("op", "left", "right", "out", "expected"), [
    ("linalg.matmul", (3, 4), (4, 5), (3, 5), torch.matmul),
    ("linalg.batch_matmul", (2, 3, 4), (2, 4, 5), (2, 3, 5), torch.matmul),
    ("linalg.matvec", (3, 4), (4,), (3,), torch.matmul),
    ("linalg.dot", (4,), (4,), (), torch.dot),
])  # fmt: skip
def test_matrix_products(run: Any, calls: Any, op: str, left: Any, right: Any, out: Any, expected: Any) -> None:
    text = named(op, [left, right], out)
    a, b, c = torch.randn(left), torch.randn(right), torch.randn(out)
    close(run(text, a, b, c)[0], expected(a, b) + c)
    assert ("einsum" in calls(text)) == (op != "linalg.dot")


def test_a_zero_initial_value_costs_nothing(calls: Any) -> None:
    text = """func.func @main(%a: tensor<3x4xf32>, %b: tensor<4x5xf32>) -> tensor<3x5xf32> {
      %zero = arith.constant 0.0 : f32
      %e = tensor.empty() : tensor<15xf32>
      %x = tensor.expand_shape %e [[0, 1]] output_shape [3, 5] : tensor<15xf32> into tensor<3x5xf32>
      %f = linalg.fill ins(%zero : f32) outs(%x : tensor<3x5xf32>) -> tensor<3x5xf32>
      %y = linalg.matmul ins(%a, %b : tensor<3x4xf32>, tensor<4x5xf32>) outs(%f : tensor<3x5xf32>) -> tensor<3x5xf32>
      return %y : tensor<3x5xf32>
    }"""
    assert calls(text) == {"einsum"}


def test_contraction_of_fused_factors_never_makes_the_whole_iteration_space(run: Any, calls: Any) -> None:
    """out[b, q, d] += exp(s[b, q, k]) * (v[b, k, d] + bias[d]): each factor is evaluated over its own loops."""
    body = """%e = math.exp %a : f32
      %s = arith.addf %b, %c : f32
      %p = arith.mulf %e, %s : f32
      %r = arith.addf %p, %o : f32
      linalg.yield %r : f32"""
    text = generic(
        ["d0, d1, d3", "d0, d3, d2", "d2", "d0, d1, d2"],
        "pppr",
        ["tensor<2x3x4xf32>", "tensor<2x4x5xf32>", "tensor<5xf32>"],
        ["tensor<2x3x5xf32>"],
        body,
        "%a: f32, %b: f32, %c: f32, %o: f32",
        4,
    )
    s, v, bias, init = torch.randn(2, 3, 4), torch.randn(2, 4, 5), torch.randn(5), torch.randn(2, 3, 5)
    close(run(text, s, v, bias, init)[0], torch.matmul(s.exp(), v + bias) + init)
    assert "einsum" in calls(text)


def test_bf16_products_are_accumulated_in_f32(run: Any) -> None:
    body = """%e = arith.extf %a : bf16 to f32
      %f = arith.extf %b : bf16 to f32
      %p = arith.mulf %e, %f : f32
      %r = arith.addf %o, %p : f32
      linalg.yield %r : f32"""
    text = generic(
        ["d0, d2", "d2, d1", "d0, d1"], "ppr", ["tensor<3x500xbf16>", "tensor<500x4xbf16>"], ["tensor<3x4xf32>"], body,
        "%a: bf16, %b: bf16, %o: f32", 3,
    )  # fmt: skip
    a, b = torch.randn(3, 500).bfloat16(), torch.randn(500, 4).bfloat16()
    (got,) = run(text, a, b, torch.zeros(3, 4))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, (a.double() @ b.double()).float(), rtol=1e-4, atol=1e-4)


def test_bf16_arithmetic_rounds_unless_held_in_f64(run: Any) -> None:
    body = "%r = arith.addf %a, %b : bf16\nlinalg.yield %r : bf16"
    text = generic(
        ["d0", "d0", "d0"], "p", ["tensor<1xbf16>"] * 2, ["tensor<1xbf16>"], body, "%a: bf16, %b: bf16, %o: bf16", 1
    )
    a, b = torch.tensor([256.0]).bfloat16(), torch.tensor([1.0]).bfloat16()
    assert run(text, a, b, a)[0].tolist() == [256.0]
    (wide,) = run(text, a, b, a, precision="f64")
    assert wide.dtype == torch.float64
    assert wide.tolist() == [257.0]


CONVOLUTIONS = [
    ("conv_2d_nchw_fchw", 2, (2, 3, 9, 8), (4, 3, 3, 2), (2, 1), (1, 2), "conv2d", lambda x, w, s, d:
        F.conv2d(x, w, stride=s, dilation=d)),
    ("conv_2d_nhwc_hwcf", 2, (2, 9, 8, 3), (3, 2, 3, 4), (1, 2), (2, 1), "conv2d", lambda x, w, s, d:
        F.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), stride=s, dilation=d).permute(0, 2, 3, 1)),
    ("conv_2d_ngchw_gfchw", 2, (2, 3, 2, 7, 7), (3, 4, 2, 3, 3), (2, 2), (1, 1), "conv2d", lambda x, w, s, d:
        F.conv2d(x.flatten(1, 2), w.flatten(0, 1), stride=s, dilation=d, groups=3).unflatten(1, (3, 4))),
    ("depthwise_conv_2d_nchw_chw", 2, (2, 3, 7, 7), (3, 3, 3), (2, 2), (1, 1), "conv2d", lambda x, w, s, d:
        F.conv2d(x, w.unsqueeze(1), stride=s, dilation=d, groups=3)),
    ("conv_1d_ncw_fcw", 1, (2, 3, 9), (4, 3, 3), (2,), (2,), "conv1d", lambda x, w, s, d:
        F.conv1d(x, w, stride=s, dilation=d)),
    ("conv_3d_ncdhw_fcdhw", 3, (1, 2, 5, 4, 6), (3, 2, 2, 2, 3), (1, 2, 1), (1, 1, 2), "conv3d", lambda x, w, s, d:
        F.conv3d(x, w, stride=s, dilation=d)),
    ("conv_2d", 2, (6, 7), (2, 3), (1, 1), (1, 1), "conv2d", lambda x, w, s, d:
        F.conv2d(x[None, None], w[None, None])[0, 0]),
]  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=[case[0] for case in CONVOLUTIONS])
def test_convolutions(run: Any, calls: Any, case: Any) -> None:
    name, rank, data, weights, strides, dilations, call, expected = case
    x, w = torch.randn(data), torch.randn(weights)
    y = expected(x, w, strides, dilations)
    vectors = {"strides": list(strides), "dilations": list(dilations)}
    entries = ", ".join(f"{key} = dense<{value}> : tensor<{rank}xi64>" for key, value in vectors.items())
    attributes = "" if name == "conv_2d" else f"{{{entries}}}"
    text = named(f"linalg.{name} {attributes}", [data, weights], tuple(y.shape))
    init = torch.randn(y.shape)
    close(run(text, x, w, init)[0], y + init)
    assert call in calls(text)


def weight_gradient(stride: int, dilation: int) -> tuple[str, Tensor, Tensor, Tensor]:
    """The gradient of a 2-D convolution's weight as a generic op, with inputs and the expected value."""
    x, w = torch.randn(2, 3, 11, 11), torch.randn(4, 3, 3, 3, requires_grad=True)
    y = F.conv2d(x, w, stride=stride, dilation=dilation)
    g = torch.randn(y.shape)
    (expected,) = torch.autograd.grad(y, w, g)
    window = [f"d{k} * {dilation} + d{k + 3} * {stride}" for k in (2, 3)]
    text = generic(
        [f"d4, d1, {window[0]}, {window[1]}", "d4, d0, d5, d6", "d0, d1, d2, d3"],
        "pppprrr",
        [tensor_type(x.shape), tensor_type(g.shape)],
        [tensor_type(w.shape)],
        MULTIPLY_ADD,
        THREE,
        7,
    )
    return text, x, g, expected


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_weight_gradients(run: Any, calls: Any, stride: int, dilation: int) -> None:
    text, x, g, expected = weight_gradient(stride, dilation)
    close(run(text, x, g, torch.zeros(4, 3, 3, 3))[0], expected)
    assert "convolution_backward.default" in calls(text)


@pytest.mark.parametrize(("op", "expected"), [
    ("max", lambda x: F.max_pool2d(x, (2, 3), stride=(2, 1))),
    ("sum", lambda x: F.avg_pool2d(x, (2, 3), stride=(2, 1)) * 6),
])  # fmt: skip
def test_pooling(run: Any, op: str, expected: Any) -> None:
    x = torch.randn(2, 3, 6, 7)
    y = expected(x)
    text = named(
        f"linalg.pooling_nchw_{op} {{strides = dense<[2, 1]> : tensor<2xi64>, dilations = dense<1> : tensor<2xi64>}}",
        [x.shape, (2, 3)],
        y.shape,
    )
    init = torch.full(y.shape, -10.0)
    close(run(text, x, torch.empty(2, 3), init)[0], torch.maximum(y, init) if op == "max" else y + init)


def arg_pair(predicate: str, value: str, operands: str = "%a, %o") -> str:
    body = f"""%i = linalg.index 1 : index
      %j = arith.index_cast %i : index to i64
      %c = arith.cmpf {predicate}, {operands} : f32
      %v = {value}
      %k = arith.select %c, %j, %p : i64
      linalg.yield %v, %k : f32, i64"""
    return generic(
        ["d0, d1", "d0", "d0"], "pr", ["tensor<3x6xf32>"], ["tensor<3xf32>", "tensor<3xi64>"], body,
        "%a: f32, %o: f32, %p: i64", 2,
    )  # fmt: skip


MAXIMUM, SELECT = "arith.maximumf %a, %o : f32", "arith.select %c, %a, %o : f32"


@pytest.mark.parametrize(("text", "vectorized", "largest", "first"), [
    (arg_pair("ogt", MAXIMUM), True, True, True),
    (arg_pair("ogt", SELECT), True, True, True),
    (arg_pair("olt", MAXIMUM, "%o, %a"), True, True, True),
    (arg_pair("olt", "arith.minimumf %a, %o : f32"), True, False, True),
    (arg_pair("oge", SELECT), False, True, False),
])  # fmt: skip
def test_arg_max_pairs(run: Any, calls: Any, text: str, vectorized: bool, largest: bool, first: bool) -> None:
    x = torch.tensor([[1.0, 5, 2, 5, 0, 1], [3, 3, 3, 3, 3, 3], [-1, -2, -1, -4, -4, -3]])
    start = -torch.inf if largest else torch.inf
    value, index = run(text, x, torch.full((3,), start), torch.full((3,), 99))
    best = x.amax(1) if largest else x.amin(1)
    places = [[k for k in range(6) if x[row, k] == best[row]] for row in range(3)]
    assert value.tolist() == best.tolist()
    assert index.tolist() == [row[0 if first else -1] for row in places]
    assert ("loop" in calls(text)) == (not vectorized)


def test_arg_max_keeps_a_better_initial_value(run: Any) -> None:
    x = torch.zeros(3, 6)
    value, index = run(arg_pair("ogt", MAXIMUM), x, torch.tensor([1.0, 0.0, -1.0]), torch.full((3,), 99))
    assert value.tolist() == [1.0, 0.0, 0.0]
    assert index.tolist() == [99, 99, 0]


def gather(indices: str, block: str = "") -> str:
    body = f"""%i = linalg.index 1 : index
      %j = arith.index_cast %n : i64 to index
      {block}
      %v = tensor.extract %table[{indices}] : tensor<7x7xf32>
      linalg.yield %v : f32"""
    return f"""func.func @main(%n0: tensor<3xi64>, %table: tensor<7x7xf32>) -> tensor<3x7xf32> {{
      %e = tensor.empty() : tensor<3x7xf32>
      %y = linalg.generic {{indexing_maps = [affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>],
          iterator_types = ["parallel", "parallel"]}}
        ins(%n0 : tensor<3xi64>) outs(%e : tensor<3x7xf32>) {{
      ^bb0(%n: i64, %o: f32):
        {body}
      }} -> tensor<3x7xf32>
      return %y : tensor<3x7xf32>
    }}"""


@pytest.mark.parametrize(("indices", "expected", "call"), [
    ("%j, %i", lambda n, t: t[n], "index_select"),
    ("%i, %j", lambda n, t: t[:, n].T, "index_select"),
    ("%i, %i", lambda n, t: t.diagonal().expand(3, 7), "index.Tensor"),
    ("%j, %j", lambda n, t: t[n, n].unsqueeze(1).expand(3, 7), "index.Tensor"),
])  # fmt: skip
def test_gathers(run: Any, calls: Any, indices: str, expected: Any, call: str) -> None:
    n, table = torch.tensor([6, 0, 3]), torch.randn(7, 7)
    torch.testing.assert_close(run(gather(indices), n, table)[0], expected(n, table).contiguous())
    assert call in calls(gather(indices))


def test_a_failing_assertion_names_the_op(run: Any) -> None:
    check = """%z = arith.constant 0 : index
      %ok = arith.cmpi sge, %j, %z : index
      cf.assert %ok, "index must be larger or equal to 0" """
    with pytest.raises(Exception, match=r"linalg\.generic failed on device 0: index must be larger"):
        run(gather("%j, %i", check), torch.tensor([0, -1, 2]), torch.randn(7, 7))


@pytest.mark.parametrize(("op", "element", "expected"), [
    ("arith.addf", "f32", lambda x: x.sum(1)), ("arith.mulf", "f32", lambda x: x.prod(1)),
    ("arith.maximumf", "f32", lambda x: x.amax(1)), ("arith.minnumf", "f32", lambda x: x.amin(1)),
    ("arith.addi", "i32", lambda x: x.sum(1)), ("arith.maxsi", "i32", lambda x: x.amax(1)),
    ("arith.maxui", "i32", lambda x: x.where(x < 0, -(2**31)).amax(1).where((x < 0).any(1), x.amax(1))),
    ("arith.andi", "i1", lambda x: x.all(1)), ("arith.ori", "i1", lambda x: x.any(1)),
    ("arith.xori", "i1", lambda x: x.sum(1) % 2 == 1), ("arith.ori", "i32", lambda x: torch.stack(
        [x[:, 0] | x[:, 1] | x[:, 2]]).squeeze(0)),
])  # fmt: skip
def test_reductions(run: Any, op: str, element: str, expected: Any) -> None:
    body = f"%r = {op} %o, %a : {element}\nlinalg.yield %r : {element}"
    text = generic(
        ["d0, d1", "d0"], "pr", [f"tensor<4x3x{element}>"], [f"tensor<4x{element}>"], body,
        f"%a: {element}, %o: {element}", 2,
    )  # fmt: skip
    x = torch.tensor([[1, -2, 3], [0, 0, 5], [-7, 2, 2], [1, 1, 1]])
    x = x.to({"f32": torch.float32, "i32": torch.int32, "i1": torch.bool}[element])
    init = x[:, 0]
    whole = torch.cat([x, init[:, None]], 1) if element != "i32" or op != "arith.ori" else x
    (got,) = run(text, x, init)
    torch.testing.assert_close(got, expected(whole).to(got.dtype))


def test_maxnum_ignores_nan_and_maximum_does_not(run: Any) -> None:
    x = torch.tensor([[1.0, torch.nan, 2.0], [torch.nan] * 3])
    for op, expected in (("maxnumf", [2.0, torch.nan]), ("maximumf", [torch.nan, torch.nan])):
        body = f"%r = arith.{op} %a, %o : f32\nlinalg.yield %r : f32"
        text = generic(["d0, d1", "d0"], "pr", ["tensor<2x3xf32>"], ["tensor<2xf32>"], body, "%a: f32, %o: f32", 2)
        (got,) = run(text, x, torch.full((2,), torch.nan))
        torch.testing.assert_close(got, torch.tensor(expected), equal_nan=True)


def test_several_results(run: Any) -> None:
    body = """%s = arith.addf %a, %o : f32
      %m = arith.maximumf %a, %p : f32
      %n = arith.negf %a : f32
      linalg.yield %s, %m, %n : f32, f32, f32"""
    text = generic(
        ["d0, d1", "d0", "d0", "d1, d0"], "pr", ["tensor<2x3xf32>"],
        ["tensor<2xf32>", "tensor<2xf32>", "tensor<3x2xf32>"], body, "%a: f32, %o: f32, %p: f32, %q: f32", 2,
    )  # fmt: skip
    x = torch.randn(2, 3)
    total, largest, negative = run(text, x, torch.zeros(2), torch.full((2,), -9.0), torch.zeros(3, 2))
    close(total, x.sum(1))
    close(largest, x.amax(1))
    close(negative, -x.T)


def test_an_output_that_is_partly_written_keeps_the_rest(run: Any) -> None:
    body = "linalg.yield %a : f32"
    text = generic(["d0", "d0 * 2"], "p", ["tensor<3xf32>"], ["tensor<6xf32>"], body, "%a: f32, %o: f32", 1)
    got = run(text, torch.tensor([1.0, 2, 3]), torch.full((6,), 9.0))[0]
    assert got.tolist() == [1.0, 9.0, 2.0, 9.0, 3.0, 9.0]


def test_equal_ops_share_a_kernel(load: Any) -> None:
    text = """func.func @main(%a: tensor<3xf32>, %b: tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>) {
      %k = arith.constant 2.0 : f32
      %e = tensor.empty() : tensor<3xf32>
      %x = linalg.map { arith.addf } ins(%a, %b : tensor<3xf32>, tensor<3xf32>) outs(%e : tensor<3xf32>)
      %y = linalg.map { arith.addf } ins(%x, %b : tensor<3xf32>, tensor<3xf32>) outs(%e : tensor<3xf32>)
      return %x, %y : tensor<3xf32>, tensor<3xf32>
    }"""
    first, second = load(text).steps
    assert build(first.spec) is build(second.spec)
