"""The graph of one layer, forward and backward, and the ops that stand for its copies until they are put in.

While a model is traced, each of its equal layers is one opaque op in the forward pass and one in the backward pass.
`insert_layers` puts the layer's own nodes in their place, with the places of the layer that each stands for. The idea
is that of `torch.compile`'s nested regions (`nested_compile_region`), which keeps the layers as calls; here they are
put in at once, so that everything behind sees one flat graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from jogak.ingress.places import Place, place_of, put_place

_torch: Any = torch
"""PyTorch without its incomplete annotations."""
_LIBRARY = _torch.library.Library("jogak", "FRAGMENT")
_LIBRARY.define("layer(Tensor[] inputs, int number) -> Tensor[]")
_LIBRARY.define("layer_gradient(Tensor[] cotangents, int number) -> Tensor[]")
_LIBRARY.define("layer_cotangent(Tensor output) -> Tensor")

_FORWARD = torch.ops.jogak.layer.default
_BACKWARD = torch.ops.jogak.layer_gradient.default
COTANGENT = torch.ops.jogak.layer_cotangent.default
"""In the graph of a layer: the gradient of one of its results; the first one starts the backward pass."""


@dataclass(frozen=True)
class LayerGraph:
    """What a layer does.

    Attributes:
        graph: placeholders are the inputs; nodes of the forward pass, a call of `COTANGENT` for each result that has a
            gradient, nodes of the backward pass; outputs are `outputs` results, then the gradients of inputs.
        outputs: how many results there are.
        differentiable: numbers of the results that have a gradient.
        needs: numbers of the inputs that get a gradient, in the order of the graph's outputs.
        scope: path of the module that was traced.
    """

    graph: fx.GraphModule
    outputs: int
    differentiable: tuple[int, ...]
    needs: tuple[int, ...]
    scope: str

    @property
    def results(self) -> list[fx.Node]:
        """The nodes of the graph's outputs."""
        values: Any = self.graph.graph.output_node().args[0]
        return list(values)

    @property
    def cotangents(self) -> list[fx.Node]:
        """The nodes of the gradients of the results."""
        return list(self.graph.graph.find_nodes(op="call_function", target=COTANGENT))

    def without(self, unused: frozenset[int]) -> set[fx.Node]:
        """The nodes that are zero when nothing depends on some of the results.

        The backward pass is linear in the gradients of the results: what depends on none but zeros is zero.

        Args:
            unused: numbers of the results.
        """
        moved: set[fx.Node] = set()
        zero: set[fx.Node] = set()
        for number, node in zip(self.differentiable, self.cotangents, strict=True):
            (zero if number in unused else moved).add(node)
        for node in self.graph.graph.nodes if zero else ():
            inputs = node.all_input_nodes
            if any(each in moved for each in inputs):
                moved.add(node)
            elif any(each in zero for each in inputs):
                zero.add(node)
        return zero - {self.graph.graph.output_node()}


@dataclass
class LayerCall:
    """One copy of a layer.

    Attributes:
        layer: what it does.
        scope: path of the module that it stands for.
        zero: nodes of its backward pass that are zero here, because nothing depends on some of its results.
    """

    layer: LayerGraph
    scope: str
    zero: set[fx.Node] = field(default_factory=set)

    def place(self, node: fx.Node) -> Place:
        """Where the copy of a node of the layer's graph comes from."""
        place = place_of(node)
        inner = place.scope.removeprefix(self.layer.scope)
        if self.scope == self.layer.scope or inner == place.scope or not (inner == "" or inner.startswith(".")):
            return place
        return Place(place.file, place.line, self.scope + inner)


@dataclass
class LayerCalls:
    """The copies that a trace has made, by number."""

    made: list[LayerCall] = field(default_factory=list)

    def call(self, layer: LayerGraph, scope: str, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The results of a copy of a layer, for inputs of its own."""
        self.made.append(LayerCall(layer, scope))
        if not layer.differentiable:
            return list(torch.ops.jogak.layer(list(inputs), len(self.made) - 1))
        apply: Any = _Layer.apply
        return list(apply(len(self.made) - 1, *inputs))


_current: list[LayerCalls] = []
"""The copies of the trace that runs; the ops can only pass a number."""


@contextmanager
def layer_calls() -> Iterator[LayerCalls]:
    """Give the ops inside the block the layers that they stand for."""
    _current.append(LayerCalls())
    try:
        yield _current[-1]
    finally:
        _current.pop()


def _like(node: fx.Node) -> Tensor:
    value: Tensor = node.meta["val"]
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)


def _results(inputs: list[Tensor], number: int) -> list[Tensor]:
    layer = _current[-1].made[number].layer
    return [_like(node) for node in layer.results[: layer.outputs]]


def _gradients(cotangents: list[Tensor], number: int) -> list[Tensor]:
    call = _current[-1].made[number]
    return [_like(node) for node in call.layer.results[call.layer.outputs :] if node not in call.zero]


def _cotangent(output: Tensor) -> Tensor:
    return torch.empty_like(output)


for _name, _function in (("layer", _results), ("layer_gradient", _gradients), ("layer_cotangent", _cotangent)):
    torch.library.register_fake(f"jogak::{_name}", _function, lib=_LIBRARY)


class _Layer(torch.autograd.Function):
    """A copy of a layer, for autograd."""

    @staticmethod
    def forward(ctx: Any, number: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        layer = _current[-1].made[number].layer
        ctx.number, ctx.count = number, len(inputs)
        ctx.set_materialize_grads(False)
        results = tuple(torch.ops.jogak.layer(list(inputs), number))
        ctx.mark_non_differentiable(*(each for i, each in enumerate(results) if i not in layer.differentiable))
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        call = _current[-1].made[ctx.number]
        layer = call.layer
        call.zero = layer.without(frozenset(i for i in layer.differentiable if cotangents[i] is None))
        given = [cotangents[i] for i in layer.differentiable if cotangents[i] is not None]
        inputs = zip(layer.needs, layer.results[layer.outputs :], strict=True)
        needed = [i for i, node in inputs if node not in call.zero]
        gradients: list[Tensor | None] = [None] * ctx.count
        for i, each in zip(needed, torch.ops.jogak.layer_gradient(given, ctx.number), strict=True):
            gradients[i] = each
        return None, *gradients


def insert_layers(module: fx.GraphModule, calls: LayerCalls) -> None:
    """Put the nodes of the layers in the place of the ops that stand for them."""
    copies = [_Copy(module, call) for call in calls.made]
    for node in list(module.graph.nodes):
        if node.target not in (_FORWARD, _BACKWARD):
            continue
        given, number = node.args
        with module.graph.inserting_before(node):
            results = copies[number].forward(given) if node.target is _FORWARD else copies[number].backward(given)
        for item in list(node.users):
            item.replace_all_uses_with(results[item.args[1]])
            module.graph.erase_node(item)
        module.graph.erase_node(node)


class _Copy:
    """Writes one copy of a layer.

    Args:
        module: where to; its graph says at which node.
        call: the layer.
    """

    def __init__(self, module: fx.GraphModule, call: LayerCall) -> None:
        self._module = module
        self._call = call
        self._own: dict[fx.Node, fx.Node] = {}

    def forward(self, inputs: Sequence[fx.Node]) -> list[fx.Node]:
        """Write the forward pass; return the results."""
        layer = self._call.layer
        self._own |= zip(layer.graph.graph.find_nodes(op="placeholder"), inputs, strict=True)
        for node in layer.graph.graph.nodes:
            if node.target is COTANGENT:
                break
            self._write(node)
        return [self._own[node] for node in layer.results[: layer.outputs]]

    def backward(self, cotangents: Sequence[fx.Node]) -> list[fx.Node]:
        """Write the backward pass; return the gradients."""
        layer, zero = self._call.layer, self._call.zero
        self._own |= zip((node for node in layer.cotangents if node not in zero), cotangents, strict=True)
        behind = itertools.dropwhile(lambda node: node.target is not COTANGENT, layer.graph.graph.nodes)
        for node in behind:
            if node not in zero and node not in self._own:
                self._write(node)
        return [self._own[node] for node in layer.results[layer.outputs :] if node not in zero]

    def _write(self, node: fx.Node) -> None:
        if node.op == "call_function":
            kept = self._summand(node)
            if kept is not None:
                self._own[node] = self._own[kept]
                return
            self._own[node] = self._module.graph.node_copy(node, self._operand)
            put_place(self._own[node], self._call.place(node))
        elif node.op == "get_attr":
            name = f"_layer{id(self._call.layer)}{node.target}"
            setattr(self._module, name, getattr(self._call.layer.graph, str(node.target)))
            self._own[node] = self._module.graph.get_attr(name)
            self._own[node].meta = dict(node.meta)

    def _summand(self, node: fx.Node) -> fx.Node | None:
        """What a sum with a zero is, where it is the other summand itself."""
        if node.target is not torch.ops.aten.add.Tensor or node.kwargs or not self._call.zero:
            return None
        parts = node.all_input_nodes
        kept = [each for each in parts if each not in self._call.zero]
        same = len(parts) > len(kept) == 1 and kept[0].meta["val"].shape == node.meta["val"].shape
        return kept[0] if same and kept[0].meta["val"].dtype == node.meta["val"].dtype else None

    def _operand(self, node: fx.Node) -> fx.Node:
        if node not in self._own:  # a zero, beside what is none
            value = node.meta["val"]
            sizes = list(value.shape), 0
            zeros = self._module.graph.call_function(torch.ops.aten.full.default, sizes, {"dtype": value.dtype})
            zeros.meta = dict(node.meta)
            put_place(zeros, self._call.place(node))
            self._own[node] = zeros
        return self._own[node]
