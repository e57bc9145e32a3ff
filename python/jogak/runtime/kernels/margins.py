"""The kernel of a convolution that reads zeros around and between elements: arguments of PyTorch's convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

from jogak.runtime.spec import ConvolutionSpec, Margin
from jogak.runtime.types import Precision, dtype_of

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
_GRADIENT = torch.ops.aten.convolution_backward.default
_READERS = frozenset([*_CONVOLUTIONS, *_TRANSPOSED, _GRADIENT])


def is_convolution(kernel: fx.GraphModule) -> bool:
    """Whether a kernel calls one of PyTorch's convolutions or its gradient."""
    return any(node.target in _READERS for node in kernel.graph.nodes)


def rewrite(kernel: fx.GraphModule, made: ConvolutionSpec, precision: Precision | None) -> fx.GraphModule | None:
    """The kernel that reads the operand without its zeros; None where PyTorch's arguments cannot say it.

    Args:
        kernel: of the convolution that reads it with its zeros.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(kernel.graph, {}))
    types = [made.spec.operands[k] for k in made.spec.tensors()]
    with FakeTensorMode(allow_non_fake_inputs=True):
        given = [torch.empty(each.shape, dtype=dtype_of(each.element, precision)) for each in types]
        _Shapes(kernel, graph=graph).run(*given)
    node = list(graph.find_nodes(op="placeholder"))[made.at]
    margins: tuple[Margin, ...] | None = made.margins
    while margins is not None:
        users = [each for each in node.users if each.target != "new_empty"]  # its shape does not come from the tensor
        if len(users) != 1:
            return None
        user = users[0]
        if user.target in _READERS:
            return fx.GraphModule(kernel, graph) if _set(graph, user, node, margins) else None
        margins = _through(user, node, margins)
        if margins is not None and user.target in ("narrow", "reshape"):
            user.replace_all_uses_with(node)
            graph.erase_node(user)
        else:
            node = user
    return None


class _Shapes(fx.Interpreter):
    """Notes the shape of every tensor."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        n.meta["shape"] = tuple(result.shape) if isinstance(result, torch.Tensor) else None
        return result


def _through(view: fx.Node, node: fx.Node, margins: tuple[Margin, ...]) -> tuple[Margin, ...] | None:
    """The margins of a view; None where it cuts more than zeros, or is another view."""
    if view.op != "call_method" or view.args[0] is not node:
        return None
    if view.target == "permute":
        order = view.args[1] if isinstance(view.args[1], (list, tuple)) else view.args[1:]
        return tuple(margins[dim] for dim in order)  # type: ignore[index]
    if view.target == "reshape":
        return margins if view.meta["shape"] == tuple(each.extent for each in margins) else None
    if view.target != "narrow":
        return None
    dim, start, length = (int(each) for each in view.args[1:])  # type: ignore[arg-type]
    old = margins[dim]
    new = old._replace(low=old.low - start, high=old.high - (old.extent - start - length))
    return (*margins[:dim], new, *margins[dim + 1 :]) if min(new.low, new.high) >= 0 else None


def _set(graph: fx.Graph, call: fx.Node, node: fx.Node, margins: Sequence[Margin]) -> bool:
    """Write margins into the arguments of a convolution; whether they can say them."""
    if any(each != Margin(each.size) for each in margins[:2]):
        return False
    along = margins[2:]
    if call.target is _GRADIENT:
        if call.args[1] is not node or call.args[0] is node:
            return False
        sizes, filters = _spatial(call.args[0]), _spatial(call.args[2])
        padding = _around(along, sizes, filters, call.args[4], call.args[6])
        call.args = (*call.args[:5], padding, *call.args[6:]) if padding else call.args
        return bool(padding)
    if call.args[0] is not node or call.args[1] is node:
        return False
    arguments = _of_transposed(call, along) if call.target in _TRANSPOSED else _of_forward(call, along)
    call.kwargs = {**call.kwargs, **arguments}
    return bool(arguments)


def _spatial(node: Any) -> list[int]:
    return list(node.meta["shape"][2:])


def _of_forward(call: fx.Node, along: Sequence[Margin]) -> dict[str, Any]:
    stride, dilation = call.kwargs["stride"], call.kwargs["dilation"]
    padding = _around(along, _spatial(call), _spatial(call.args[1]), stride, dilation)
    return {"padding": padding} if padding else {}


def _around(
    along: Sequence[Margin], made: Sequence[int], filters: Sequence[int], stride: Any, dilation: Any
) -> list[int] | None:
    """The padding of both sides that gives as many windows as the margins do: what is more is not reached."""
    for each, windows, width, step, apart in zip(along, made, filters, stride, dilation, strict=True):
        reach = (windows - 1) * step + (width - 1) * apart + 1
        extent = each.size + 2 * each.low
        if each.spread != 1 or each.low > (width - 1) * apart or not reach <= extent < reach + step:
            return None
    return [each.low for each in along]


def _of_transposed(call: fx.Node, along: Sequence[Margin]) -> dict[str, Any]:
    """A filter laid down at every element: elements that are spread are its stride."""
    padding, added = [], []
    widths = zip(_spatial(call), _spatial(call.args[1]), call.kwargs["dilation"], strict=True)  # type: ignore[arg-type]
    for each, old, (made, width, apart) in zip(along, call.kwargs["padding"], widths, strict=True):  # type: ignore[arg-type]
        padding.append(int(old) - each.low)
        added.append(made - ((each.size - 1) * each.spread - 2 * padding[-1] + (width - 1) * apart + 1))
        if padding[-1] < 0 or not 0 <= added[-1] < max(each.spread, apart):
            return {}
    stride = [each.spread for each in along]
    return {"stride": stride, "padding": padding, "output_padding": added}
