"""Convolutions of few windows as matrix products.

PyTorch's convolution brings the filter into another layout at every call. Where a convolution has fewer windows than
its filter has rows, as in the last stages of a network, or sums less than that in each, as the gradient of such a
filter does, that costs more than to copy the windows; what is left is a matrix product with the filter as it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import fx

_TIMES = 8
"""How much smaller than the rows of the filter the windows, or what is summed, must be to be copied."""
_LEAST = 1 << 16
"""Elements of the smallest filter or result for which the layout matters: a call less is worth more."""


def replace(graph: fx.Graph) -> bool:
    """Write plain two-dimensional convolutions of few windows as products; whether there were any.

    Args:
        graph: of a kernel; `meta["is"]` of each node holds its shape and dtype.
    """
    writers: dict[Any, Any] = {torch.conv2d: _forward, torch.conv_transpose2d: _transposed}
    found = False
    for node in list(graph.nodes):
        writer = writers.get(node.target)
        if writer is None or node.kwargs.get("groups", 1) != 1 or len(node.all_input_nodes) != 2:
            continue
        with graph.inserting_before(node):
            made = writer(graph, node)
        if made is not None:
            node.replace_all_uses_with(made)
            graph.erase_node(node)
            found = True
    return found


def _forward(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    data, filters = node.all_input_nodes
    rows, *rest = _shape(filters)
    batch, channels, *size = _shape(data)
    made = _shape(node)[2:]
    windows, summed = batch * prod(made), prod(rest)
    if min(windows, summed) * _TIMES > rows or rows * max(windows, summed) < _LEAST:
        return None
    read = {name: node.kwargs.get(name, default) for name, default in (("dilation", 1), ("padding", 0), ("stride", 1))}
    image = _reshape(graph, data, [1, batch * channels, *size])  # PyTorch takes one image of a batch at a time
    columns = graph.call_function(torch.nn.functional.unfold, (image, rest[1:]), read)
    columns = _reshape(graph, columns, [batch, summed, prod(made)])
    matrix = _reshape(graph, filters, [rows, summed])
    if windows <= summed:
        left = _reshape(graph, _permute(graph, columns, [0, 2, 1]), [windows, summed])
        product = graph.call_function(torch.mm, (left, _permute(graph, matrix, [1, 0])))
        whole = _permute(graph, _reshape(graph, product, [batch, *made, rows]), [0, 3, 1, 2])
        return graph.call_method("contiguous", (whole,))  # what reads it is elementwise: small, and of one layout
    right = _reshape(graph, _permute(graph, columns, [1, 0, 2]), [summed, windows])
    product = graph.call_function(torch.mm, (matrix, right))
    return _permute(graph, _reshape(graph, product, [rows, batch, *made]), [1, 0, 2, 3])


def _transposed(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    data, filters = node.all_input_nodes
    rows, channels, *kernel = _shape(filters)
    batch, _, *read = _shape(data)
    windows, laid = batch * prod(read), channels * prod(kernel)
    if windows * _TIMES > rows or rows * laid < _LEAST:
        return None
    left = _reshape(graph, _permute(graph, data, [0, 2, 3, 1]), [windows, rows])
    product = graph.call_function(torch.mm, (left, _reshape(graph, filters, [rows, laid])))
    columns = _permute(graph, _reshape(graph, product, [batch, prod(read), laid]), [0, 2, 1])
    columns = _reshape(graph, columns, [1, batch * laid, prod(read)])
    placed = {name: node.kwargs[name] for name in ("dilation", "padding", "stride")}
    image = graph.call_function(torch.nn.functional.fold, (columns, list(_shape(node)[2:]), kernel), placed)
    return _reshape(graph, image, _shape(node))


def _shape(node: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = node.meta["is"][0]
    return shape


def _reshape(graph: fx.Graph, node: fx.Node, shape: Sequence[int]) -> fx.Node:
    return graph.call_method("reshape", (node, list(shape)))


def _permute(graph: fx.Graph, node: fx.Node, order: Sequence[int]) -> fx.Node:
    return graph.call_method("permute", (node, list(order)))
