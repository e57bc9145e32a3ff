"""Building a kernel: torch code on proxies, recorded as a `torch.fx` graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.fx.proxy import GraphAppendingTracer

from jogak.runtime.spec import constant_value
from jogak.runtime.types import Precision, dtype_of


class Emitter:
    """Records torch calls. Its tensors are proxies: code that uses them reads like eager torch."""

    def __init__(self, precision: Precision | None) -> None:
        self.precision = precision
        self._graph = fx.Graph()
        self._tracer = GraphAppendingTracer(self._graph)
        self._root = torch.nn.Module()
        self._inputs = 0

    def input(self) -> Tensor:
        """The next input of the kernel."""
        node = self._graph.placeholder(f"arg{self._inputs}")
        self._inputs += 1
        return cast(Tensor, fx.Proxy(node, self._tracer))

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Tensor:
        """Call a function that is not reached through a proxy: a constructor, or one that takes a list of proxies."""
        return cast(Tensor, self._tracer.create_proxy("call_function", function, arguments, options))

    def call_module(self, name: str, module: torch.nn.Module, *arguments: Any) -> Tensor:
        """Call a module that becomes part of the kernel."""
        self._root.add_module(name, module)
        return cast(Tensor, self._tracer.create_proxy("call_module", name, arguments, {}))

    def dtype(self, element: str) -> torch.dtype:
        return dtype_of(element, self.precision)

    def full(self, shape: Sequence[int], text: str, element: str) -> Tensor:
        """A tensor with one value everywhere; it takes the memory of one element."""
        scalar = self.call(torch.full, (), constant_value(text, element), dtype=self.dtype(element))
        return scalar.expand(tuple(shape)) if shape else scalar

    def finish(self, results: Sequence[Tensor], name: str) -> fx.GraphModule:
        """The kernel: it returns one tensor, or a tuple when there are several."""
        nodes = tuple(cast(fx.Proxy, result).node for result in results)
        self._graph.output(nodes[0] if len(nodes) == 1 else nodes)
        self._graph.eliminate_dead_code(_has_effect)
        return fx.GraphModule(self._root, self._graph, class_name=name)


def _has_effect(node: fx.Node) -> bool:
    return node.op in ("placeholder", "output") or node.target is torch._assert
