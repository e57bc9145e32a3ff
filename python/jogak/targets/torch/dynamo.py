"""`torch.compile(model, backend="jogak", options={"mesh": "data=2,model=2"})`: inference on the devices of a mesh.

Under torchrun every rank calls the model with the same whole inputs and gets the same whole outputs; each holds and
computes its own part. One process for a mesh of several devices runs all of them on the simulator.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from jogak.compiler import Compilation, compile_model
from jogak.configuration import Configuration, what_is_searched
from jogak.cost.machine_file import DEFAULT_MACHINE
from jogak.errors import JogakError, unknown_name
from jogak.ingress.model import Model
from jogak.ingress.options import ImportOptions
from jogak.targets.torch.resident import Runner, runner_of, world_size

OPTIONS = ("mesh", "devices", "shard", "search", "machine", "memory", "timeout")
_MODULES = re.compile(r"_modules\[['\"](\w+)['\"]\]")
_TENSOR = re.compile(r"_(?:parameters|buffers)\[['\"](\w+)['\"]\]")
_NAME = re.compile(r"^L\[['\"](\w+)['\"]\]$")
_WHERE = "torch.compile(backend='jogak')"

Run = Callable[..., tuple[Tensor, ...]]


class Held(nn.Module):
    """A captured graph as a module again: its weights under their names, the rest as inputs.

    Attributes:
        graph: with weights and inputs as its placeholders.
        weights: for the number of each placeholder that is a weight, its name.
        inputs: for the number of each other placeholder, its name.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.graph = graph
        self.weights: dict[int, str] = {}
        self.inputs: dict[int, str] = {}

    def hold(self, name: str, value: Tensor) -> None:
        """Take a weight under its dotted name."""
        *path, last = name.split(".")
        owner: nn.Module = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        if isinstance(value, nn.Parameter):
            owner.register_parameter(last, value)
        else:
            owner.register_buffer(last, value)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.inputs, inputs, strict=True))
        given |= {number: self.named(name) for number, name in self.weights.items()}
        results: tuple[Tensor, ...] = self.graph(*(given[number] for number in sorted(given)))
        return results

    def named(self, name: str) -> Tensor:
        """The weight of a dotted name."""
        path, _, last = name.rpartition(".")
        value: Tensor = getattr(self.get_submodule(path), last)
        return value


def backend(graph: fx.GraphModule, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None) -> Run:
    """Compile a graph that torch.compile captured.

    Args:
        graph: with the model's weights among its inputs.
        example_inputs: of the graph.
        options: those of `OPTIONS`, as `jogak.compile` takes them; without mesh and devices all processes are used.

    Raises:
        JogakError: the graph is one of training, has dynamic shapes, or is only a piece of the model.
    """
    chosen = dict(options or {})
    for name in chosen:
        if name not in OPTIONS:
            raise unknown_name("option", name, OPTIONS, where=_WHERE)
    _check(graph, example_inputs)
    held, model = _model_of(graph, example_inputs)
    devices = chosen.pop("devices", None)
    if devices is None and "mesh" not in chosen:
        devices = world_size()
    timeout = float(chosen.pop("timeout", 60.0))
    runner = runner_of(lambda: _compile(model, devices, chosen), held, timeout)
    shapes = [node.meta["example_value"].shape for node in graph.graph.output_node().all_input_nodes]
    return _run(runner, held, shapes)


def _check(graph: fx.GraphModule, example_inputs: Sequence[Any]) -> None:
    reason = getattr(graph, "compile_subgraph_reason", None)
    if reason is not None and getattr(reason, "graph_break", False):
        raise JogakError(
            f"the model is cut by a graph break, only whole models can be split over devices: {reason.reason}",
            where=_WHERE,
            hint="fullgraph=True shows the line; torch.compiler.allow_in_graph or a rewrite of it removes the break",
        )
    if any(not isinstance(value, Tensor) for value in example_inputs):
        hint = "torch.compile(..., dynamic=False) compiles each shape once"
        raise JogakError("an input's shape is dynamic, plans are for fixed shapes", where=_WHERE, hint=hint)
    if torch.is_grad_enabled() and any(value.requires_grad for value in example_inputs):
        raise JogakError(
            "gradients are asked for, but this backend runs inference",
            where=_WHERE,
            hint="call the model under torch.no_grad(), or compile a training step: jogak.compile(..., train='adamw')",
        )
    if any(_writes(node) for node in graph.graph.nodes):
        hint = "model.eval() keeps batch statistics as they are"
        raise JogakError("the model changes its buffers, but this backend runs inference", where=_WHERE, hint=hint)


def _writes(node: fx.Node) -> bool:
    """Whether a node overwrites an input of the graph; batch norm in training counts its batches so."""
    written = node.args[0] if node.args else None
    in_place = node.target is operator.iadd or (node.op == "call_method" and str(node.target).endswith("_"))
    return in_place and isinstance(written, fx.Node) and written.op == "placeholder"


def _model_of(graph: fx.GraphModule, example_inputs: Sequence[Any]) -> tuple[Held, Model]:
    held, inputs = Held(graph), []
    for number, (node, value) in enumerate(zip(graph.graph.find_nodes(op="placeholder"), example_inputs, strict=True)):
        source = _source_of(node)
        tensor = _TENSOR.search(source)
        if tensor or isinstance(value, nn.Parameter):
            name = ".".join([*_MODULES.findall(source), tensor[1]]) if tensor else str(node.target)
            held.weights[number] = name
            held.hold(name, value)
        else:
            plain = _NAME.match(source)
            held.inputs[number] = plain[1] if plain else str(node.target)
            inputs.append(value)
    return held, Model("model", held, tuple(inputs), names=list(held.inputs.values()), where=_WHERE, exported=True)


def _source_of(node: fx.Node) -> str:
    """Where a placeholder comes from: `L['self']._modules['head']._parameters['weight']`."""
    source = getattr(node.meta.get("grapharg"), "source", None)
    name = getattr(source, "name", "")
    return str(name() if callable(name) else name)


def _compile(model: Model, devices: int | None, chosen: Mapping[str, Any]) -> Compilation:
    shard = chosen.get("shard") or {}
    given = chosen.get("mesh")
    if (given is None) == (devices is None):
        raise JogakError("either devices or mesh says what to compile for", where=_WHERE, hint="give one of them")
    configuration = Configuration(
        model.name,
        f"data={devices}" if given is None else str(given),
        ImportOptions(),
        [(f"{pattern}={spec}", "shard") for pattern, spec in shard.items()],
        "torch",
        machine=chosen.get("machine", DEFAULT_MACHINE),
        searched=what_is_searched(chosen.get("search"), mesh_given=given is not None, constrained=bool(shard)),
        memory=chosen.get("memory", "auto"),
    )
    return compile_model(configuration, model)


def _run(runner: Runner, held: Held, shapes: Sequence[torch.Size]) -> Run:
    """The function that takes the graph's place; weights that have changed since the last call are taken anew."""
    seen = {number: _mark(held.named(name)) for number, name in held.weights.items()}  # the runner has these

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        changed = {}
        for number, name in held.weights.items():
            mark = _mark(given[number])
            if seen[number] != mark:
                changed[name], seen[number] = given[number].detach(), mark
        if changed:
            runner.take(changed)
        outputs = runner({name: given[number] for number, name in held.inputs.items()})
        return tuple(value.reshape(shape) for value, shape in zip(outputs, shapes, strict=True))

    return run


def _mark(weight: Tensor) -> tuple[int, int]:
    """What is another one when a weight was replaced or written to."""
    return weight.data_ptr(), weight._version
