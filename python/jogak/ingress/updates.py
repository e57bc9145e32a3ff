"""The optimizer's part of a training step, appended to the graph of the model.

The update of a parameter depends on its shape and types alone. So it is traced once for each, and its nodes are copied
for every parameter: a model of 96 layers costs no more tracing than one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from jogak.ingress import optimizers
from jogak.ingress.decompositions import decomposition_table
from jogak.ingress.options import Optimizer
from jogak.ingress.places import Place, put_place


def _trace(function: Callable[..., Any], examples: Sequence[Tensor], mode: FakeTensorMode) -> fx.Graph:
    with mode, torch.no_grad():
        traced = make_fx(function, decomposition_table=decomposition_table(), tracing_mode="real")(*examples)
    return traced.graph


def _splice(target: fx.Graph, source: fx.Graph, inputs: Sequence[fx.Node], place: Place) -> list[fx.Node]:
    """Copy the nodes of `source` to the end of `target`, fed by `inputs`; return what its outputs became."""
    mapping = dict(zip(source.find_nodes(op="placeholder"), inputs, strict=True))
    with target.inserting_before(target.output_node()):
        outputs: Any = target.graph_copy(source, mapping)
    for node in source.nodes:
        if node.op == "call_function":
            put_place(mapping[node], place)
    return list(outputs)


class Updates:
    """Appends updates to one graph.

    Args:
        optimizer: the rule and its numbers.
        graph: the model's loss and gradients.
        arguments: the graph's placeholders by name, optimizer state among them.
        mode: the fake tensors of the graph.
    """

    def __init__(
        self, optimizer: Optimizer, graph: fx.Graph, arguments: Mapping[str, fx.Node], mode: FakeTensorMode
    ) -> None:
        self._optimizer = optimizer
        self._graph = graph
        self._arguments = arguments
        self._mode = mode
        self._traced: dict[Any, fx.Graph] = {}

    def append(self, gradients: Mapping[str, fx.Node]) -> dict[str, fx.Node]:
        """The next value of every parameter that has a gradient, of its optimizer state, and of the step, by name."""
        values: dict[str, fx.Node] = {}
        scale: list[fx.Node] = []
        if optimizers.counts_steps(self._optimizer):
            values[optimizers.STEP], *scale = self._count()
        slots = optimizers.state_slots(self._optimizer)
        for name, gradient in gradients.items():
            names = [name, *(f"{slot}.{name}" for slot in slots)]
            nodes = [self._arguments[each] for each in names]
            values |= dict(zip(names, self._update(name, [gradient, *nodes, *scale]), strict=True))
        return values

    def _count(self) -> list[fx.Node]:
        def count(step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            scale = optimizers.corrections(self._optimizer, step + 1)
            return step + 1, scale.step_size, scale.second_moment

        step = self._arguments[optimizers.STEP]
        return _splice(self._graph, _trace(count, [step.meta["val"]], self._mode), [step], Place(scope="optimizer"))

    def _update(self, name: str, inputs: Sequence[fx.Node]) -> list[fx.Node]:
        examples = [node.meta["val"] for node in inputs]
        key = tuple((value.shape, value.dtype) for value in examples)
        if key not in self._traced:
            self._traced[key] = _trace(self._rule, examples, self._mode)
        return _splice(self._graph, self._traced[key], inputs, Place(scope=f"optimizer.{name}"))

    def _rule(self, gradient: Tensor, parameter: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        slots = optimizers.state_slots(self._optimizer)
        state = dict(zip(slots, rest, strict=False))
        scale = optimizers.Corrections(*rest[len(slots) :]) if optimizers.counts_steps(self._optimizer) else None
        value, after = optimizers.update(self._optimizer, parameter, gradient, state, scale)
        return value, *(after[slot] for slot in slots)
