"""Ops on whole tensors and torch-mlir's `tm_tensor` ops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from jogak.errors import JogakError

X = torch.arange(24.0).reshape(4, 6)


def unary(op: str, result: str, source: str = "tensor<4x6xf32>", extra: str = "") -> str:
    return f"""func.func @main(%x: {source}{extra}) -> {result} {{
      {op}
      return %y : {result}
    }}"""


SHAPES = [
    ("%y = tensor.expand_shape %x [[0, 1], [2]] output_shape [2, 2, 6] : tensor<4x6xf32> into tensor<2x2x6xf32>",
     "tensor<2x2x6xf32>", X.reshape(2, 2, 6)),
    ("%y = tensor.collapse_shape %x [[0, 1]] : tensor<4x6xf32> into tensor<24xf32>", "tensor<24xf32>", X.reshape(24)),
    ("%y = tensor.extract_slice %x[1, 2] [2, 2] [2, 3] : tensor<4x6xf32> to tensor<2x2xf32>", "tensor<2x2xf32>",
     X[1::2, 2::3]),
    ("%y = tensor.extract_slice %x[1, 2] [1, 3] [1, 1] : tensor<4x6xf32> to tensor<3xf32>", "tensor<3xf32>", X[1, 2:5]),
    ("%i = arith.constant 2 : index\n"
     "%y = tensor.extract_slice %x[%i, 0] [1, 6] [1, 1] : tensor<4x6xf32> to tensor<6xf32>",
     "tensor<6xf32>", X[2]),
    ("%c = arith.constant 7.0 : f32\n%y = tensor.pad %x low[0, 1] high[2, 0] {\n^bb0(%a: index, %b: index):\n"
     "tensor.yield %c : f32\n} : tensor<4x6xf32> to tensor<6x7xf32>", "tensor<6x7xf32>",
     torch.nn.functional.pad(X, (1, 0, 0, 2), value=7.0)),
    ("%y = tensor.concat dim(1) %x, %x : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x12xf32>", "tensor<4x12xf32>",
     torch.cat([X, X], 1)),
    ("%i = arith.constant 3 : index\n%v = tensor.extract %x[%i, %i] : tensor<4x6xf32>\n"
     "%y = tensor.from_elements %v, %v : tensor<2xf32>", "tensor<2xf32>", torch.tensor([21.0, 21.0])),
    ("%i = arith.constant 1 : index\n%v = tensor.extract %x[%i, %i] : tensor<4x6xf32>\n"
     "%y = tensor.splat %v : tensor<2x2xf32>", "tensor<2x2xf32>", torch.full((2, 2), 7.0)),
    ("%i = arith.constant 1 : index\n%y = tensor.dim %x, %i : tensor<4x6xf32>", "index", torch.tensor(6)),
    ("%y = tensor.cast %x : tensor<4x6xf32> to tensor<4x6xf32>", "tensor<4x6xf32>", X),
    ("%y = arith.addf %x, %x : tensor<4x6xf32>", "tensor<4x6xf32>", 2 * X),
    ("%c = arith.constant dense<[1.5, 2.5]> : tensor<2xf32>\n%y = arith.negf %c : tensor<2xf32>", "tensor<2xf32>",
     torch.tensor([-1.5, -2.5])),
    ("%c = arith.constant dense<[true, false]> : tensor<2xi1>\n%y = arith.xori %c, %c : tensor<2xi1>", "tensor<2xi1>",
     torch.tensor([False, False])),
    ("%c = arith.constant dense<[1.5, 2.5]> : tensor<2xbf16>\n%y = arith.addf %c, %c : tensor<2xbf16>",
     "tensor<2xbf16>", torch.tensor([3.0, 5.0]).bfloat16()),
    ("%c = arith.constant dense<[0x7F80, -1.5e+00]> : tensor<2xbf16>\n%y = arith.negf %c : tensor<2xbf16>",
     "tensor<2xbf16>", torch.tensor([-torch.inf, 1.5]).bfloat16()),
    ("%i = arith.constant 1 : index\n%v = arith.constant 9.0 : f32\n"
     "%y = tensor.insert %v into %x[%i, %i] : tensor<4x6xf32>", "tensor<4x6xf32>",
     X.index_put((torch.tensor(1), torch.tensor(1)), torch.tensor(9.0))),
]  # fmt: skip


@pytest.mark.parametrize(("op", "result", "expected"), SHAPES, ids=[case[0].split("\n")[-1][:40] for case in SHAPES])
def test_whole_tensors(run: Any, op: str, result: str, expected: Tensor) -> None:
    (got,) = run(unary(op, result), X)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("offsets", "strides"), [([1, 2], [1, 1]), ([0, 1], [2, 3]), ([2, 0], [1, 2])])
def test_insert_slice(run: Any, offsets: list[int], strides: list[int]) -> None:
    source = -torch.ones(2, 2)
    expected = X.clone()
    expected[offsets[0] :: strides[0], offsets[1] :: strides[1]][:2, :2] = source
    op = f"%y = tensor.insert_slice %s into %x{offsets} [2, 2] {strides} : tensor<2x2xf32> into tensor<4x6xf32>"
    (got,) = run(unary(op, "tensor<4x6xf32>", extra=", %s: tensor<2x2xf32>"), X, source)
    torch.testing.assert_close(got, expected)


def test_insert_slice_at_an_offset_known_only_at_run_time(run: Any) -> None:
    op = "%y = tensor.insert_slice %s into %x[%i, 1] [1, 2] [1, 1] : tensor<2xf32> into tensor<4x6xf32>"
    text = unary(op, "tensor<4x6xf32>", extra=", %s: tensor<2xf32>, %i: index")
    expected = X.clone()
    expected[3, 1:3] = torch.tensor([-1.0, -2.0])
    (got,) = run(text, X, torch.tensor([-1.0, -2.0]), torch.tensor(3))
    torch.testing.assert_close(got, expected)


def test_pad_with_a_value_from_the_program(run: Any) -> None:
    op = "%y = tensor.pad %x low[1, 0] high[0, 2] {\n^bb0(%a: index, %b: index):\ntensor.yield %v : f32\n}"
    op += " : tensor<4x6xf32> to tensor<5x8xf32>"
    (got,) = run(unary(op, "tensor<5x8xf32>", extra=", %v: f32"), X, torch.tensor(5.0))
    torch.testing.assert_close(got, torch.nn.functional.pad(X, (0, 2, 1, 0), value=5.0))


def test_reading_memory_that_nobody_wrote_shows(run: Any) -> None:
    text = unary("%e = tensor.empty() : tensor<2xf32>\n%y = arith.negf %e : tensor<2xf32>", "tensor<2xf32>")
    assert run(text, X)[0].isnan().all()


def test_an_unknown_op_is_an_error_that_names_it(run: Any) -> None:
    with pytest.raises(JogakError, match=r"'tensor\.gather' cannot be executed"):
        run(unary(
            "%i = arith.constant dense<1> : tensor<2x1xindex>\n"
            "%y = tensor.gather %x[%i] gather_dims([0]) : (tensor<4x6xf32>, tensor<2x1xindex>) -> tensor<2x1x6xf32>",
            "tensor<2x1x6xf32>",
        ), X)  # fmt: skip


def scatter(updates: str, indices: str, original: str, dims: str, body: str) -> str:
    return f"""func.func @main(%u: {updates}, %i: {indices}, %o: {original}) -> {original} {{
      %y = tm_tensor.scatter {{dimension_map = array<i64: {dims}>}} unique_indices(false)
        ins(%u, %i : {updates}, {indices}) outs(%o : {original}) {{
      ^bb0(%a: f32, %b: f32):
        {body}
      }} -> {original}
      return %y : {original}
    }}"""


ADD = "%r = arith.addf %b, %a : f32\ntm_tensor.yield %r : f32"


@pytest.mark.parametrize(("updates", "dims"), [((3, 6), "0"), ((3, 1, 6), "0")])
def test_scatter_adds_rows(run: Any, updates: tuple[int, ...], dims: str) -> None:
    u, index = torch.randn(updates), torch.tensor([[2], [0], [2]])
    shape = "x".join(map(str, updates))
    text = scatter(f"tensor<{shape}xf32>", "tensor<3x1xi64>", "tensor<4x6xf32>", dims, ADD)
    torch.testing.assert_close(run(text, u, index, X)[0], X.index_add(0, index[:, 0], u.reshape(3, 6)))


def test_scatter_of_elements_replaces_them(run: Any) -> None:
    text = scatter("tensor<2xf32>", "tensor<2x2xi64>", "tensor<4x6xf32>", "0, 1", "tm_tensor.yield %a : f32")
    (got,) = run(text, torch.tensor([-1.0, -2.0]), torch.tensor([[0, 5], [3, 1]]), X)
    expected = X.clone()
    expected[0, 5], expected[3, 1] = -1.0, -2.0
    torch.testing.assert_close(got, expected)


def test_scatter_of_windows_with_a_maximum(run: Any) -> None:
    body = "%r = arith.maximumf %b, %a : f32\ntm_tensor.yield %r : f32"
    text = scatter("tensor<2x2x3xf32>", "tensor<2x2xi64>", "tensor<4x6xf32>", "0, 1", body)
    u, index = torch.randn(2, 2, 3) * 20, torch.tensor([[0, 3], [1, 2]])
    expected = X.clone()
    for k in range(2):
        view = expected[index[k, 0] :, index[k, 1] :][:2, :3]
        view.copy_(torch.maximum(view, u[k]))
    torch.testing.assert_close(run(text, u, index, X)[0], expected)


@pytest.mark.parametrize(("op", "expected"), [("addf", torch.cumsum), ("maximumf", lambda x, d: x.cummax(d)[0])])
@pytest.mark.parametrize("inclusive", [True, False])
def test_scan(run: Any, op: str, expected: Any, inclusive: bool) -> None:
    x, start = torch.randn(4, 6), torch.full((4,), -9.0 if op == "maximumf" else 2.0)
    text = f"""func.func @main(%x: tensor<4x6xf32>, %e: tensor<4x6xf32>, %s: tensor<4xf32>)
        -> (tensor<4x6xf32>, tensor<4xf32>) {{
      %y:2 = tm_tensor.scan dimension(1) inclusive({str(inclusive).lower()}) ins(%x : tensor<4x6xf32>)
        outs(%e, %s : tensor<4x6xf32>, tensor<4xf32>) {{
      ^bb0(%a: f32, %b: f32):
        %r = arith.{op} %a, %b : f32
        tm_tensor.yield %r : f32
      }} -> tensor<4x6xf32>, tensor<4xf32>
      return %y#0, %y#1 : tensor<4x6xf32>, tensor<4xf32>
    }}"""
    source = x if inclusive else torch.cat([start[:, None], x[:, :-1]], 1)
    scanned, last = run(text, x, torch.zeros(4, 6), start)
    torch.testing.assert_close(scanned, expected(source, 1))
    torch.testing.assert_close(last, expected(source, 1)[:, -1])


@pytest.mark.parametrize(("predicate", "descending"), [("oge", True), ("olt", False)])
def test_sort(run: Any, predicate: str, descending: bool) -> None:
    text = f"""func.func @main(%x: tensor<3x5xf32>, %i: tensor<3x5xi64>) -> (tensor<3x5xf32>, tensor<3x5xi64>) {{
      %y:2 = tm_tensor.sort dimension(1) outs(%x, %i : tensor<3x5xf32>, tensor<3x5xi64>) {{
      ^bb0(%a: f32, %b: f32, %c: i64, %d: i64):
        %r = arith.cmpf {predicate}, %a, %b : f32
        tm_tensor.yield %r : i1
      }} -> tensor<3x5xf32>, tensor<3x5xi64>
      return %y#0, %y#1 : tensor<3x5xf32>, tensor<3x5xi64>
    }}"""
    x = torch.randn(3, 5)
    values, indices = run(text, x, torch.arange(5).expand(3, 5).contiguous())
    expected = x.sort(1, descending=descending)
    torch.testing.assert_close(values, expected.values)
    assert indices.tolist() == expected.indices.tolist()


def test_topk(run: Any) -> None:
    text = """func.func @main(%x: tensor<3x5xf32>, %v: tensor<3x2xf32>, %i: tensor<3x2xi32>)
        -> (tensor<3x2xf32>, tensor<3x2xi32>) {
      %y:2 = tm_tensor.topk dimension(1) ins(%x : tensor<3x5xf32>) outs(%v, %i : tensor<3x2xf32>, tensor<3x2xi32>) {
      ^bb0(%a: f32, %b: f32):
        %r = arith.cmpf ogt, %a, %b : f32
        tm_tensor.yield %r : i1
      } -> tensor<3x2xf32>, tensor<3x2xi32>
      return %y#0, %y#1 : tensor<3x2xf32>, tensor<3x2xi32>
    }"""
    x = torch.randn(3, 5)
    values, indices = run(text, x, torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int32))
    torch.testing.assert_close(values, x.topk(2, 1).values)
    assert indices.tolist() == x.topk(2, 1).indices.tolist()


@pytest.mark.parametrize("mask", ["", "f32", "i1"])
def test_attention(run: Any, mask: str) -> None:
    t, m = "tensor<2x3x4xf32>", f"tensor<2x3x3x{mask}>"
    arguments, operands, types = f"%q: {t}, %k: {t}, %v: {t}", "%q, %k, %v", f"{t}, {t}, {t}"
    if mask:
        arguments, operands, types = f"{arguments}, %m: {m}", f"{operands}, %m", f"{types}, {m}"
    text = f"""func.func @main({arguments}) -> {t} {{
      %e = tensor.empty() : {t}
      %y = tm_tensor.attention ins({operands} : {types}) outs(%e : {t}) -> {t}
      return %y : {t}
    }}"""
    q, k, v = (torch.randn(2, 3, 4) for _ in range(3))
    bias = torch.randn(2, 3, 3) if mask == "f32" else torch.ones(3, 3, dtype=torch.bool).tril(-1).expand(2, 3, 3)
    given = [bias.contiguous()] if mask else []
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias if mask else None)
    torch.testing.assert_close(run(text, q, k, v, *given)[0], expected.nan_to_num(0.0))
