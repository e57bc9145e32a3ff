"""From a model to a flat functional graph: fake tensors, autograd, functionalization, decomposition."""

from __future__ import annotations

import logging
import traceback as python_traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch._subclasses.functional_tensor import FunctionalTensorMode, dispatch_functionalize
from torch.fx import traceback
from torch.fx.experimental.proxy_tensor import make_fx

from jogak.errors import JogakError
from jogak.ingress import losses, optimizers
from jogak.ingress.constants import constant_name
from jogak.ingress.decompositions import decomposition_table
from jogak.ingress.layer_graphs import insert_layers, layer_calls
from jogak.ingress.model import Model
from jogak.ingress.options import ImportOptions
from jogak.ingress.places import innermost_user_place
from jogak.ingress.program import Argument, Program, Result
from jogak.ingress.randomness import SEED
from jogak.ingress.step import Step, chosen_loss
from jogak.ingress.updates import Updates

_ALIASES = (torch.ops.aten.clone.default, torch.ops.aten.detach.default, torch.ops.aten.alias.default)


def fake(mode: FakeTensorMode, example: Tensor) -> Tensor:
    """A CPU tensor without storage of the example's shape and dtype."""
    with mode:
        return torch.empty(tuple(example.shape), dtype=example.dtype, device="cpu")


def _unique(name: str, taken: set[str]) -> str:
    return name if name not in taken else f"input.{name}"


def model_arguments(model: Model, mode: FakeTensorMode) -> list[Argument]:
    """Parameters, buffers, the seed of random numbers and inputs, all fake."""
    state = [Argument(name, "parameter", fake(mode, value)) for name, value in model.parameters.items()]
    state += [Argument(name, "buffer", fake(mode, value)) for name, value in model.buffers.items()]
    with mode:
        state.append(Argument(SEED, "seed", torch.zeros((), dtype=torch.int32)))
    taken = {argument.name for argument in state}
    return [*state, *(Argument(_unique(name, taken), "input", fake(mode, x)) for name, x in model.inputs.items())]


def _optimizer_arguments(model: Model, options: ImportOptions, mode: FakeTensorMode) -> list[Argument]:
    optimizer = options.optimizer
    if optimizer is None:
        return []
    parameters = {name: value for name, value in model.parameters.items() if name in model.trainable}
    state = [
        Argument(f"{slot}.{name}", "optimizer_state", fake(mode, value))
        for slot in optimizers.state_slots(optimizer)
        for name, value in parameters.items()
    ]
    if not optimizers.counts_steps(optimizer):
        return state
    with mode:
        return [*state, Argument(optimizers.STEP, "optimizer_state", torch.zeros(()))]


def output_example(model: Model, arguments: Sequence[Argument], mode: FakeTensorMode, options: ImportOptions) -> Tensor:
    """The model's prediction for fake inputs: what a target has to match."""
    step = Step(model, options, arguments)
    with mode, torch.no_grad(), explained(model):
        output = step.forward_only({argument.name: argument.example for argument in arguments})
    return losses.prediction(output)


def all_arguments(model: Model, options: ImportOptions, mode: FakeTensorMode) -> list[Argument]:
    """Every argument of the program: parameters, buffers, optimizer state, inputs, and the target of a loss."""
    arguments = model_arguments(model, mode)
    loss = chosen_loss(model, options) if options.training else None
    if loss is not None:
        prediction = output_example(model, arguments, mode, options)
        with mode:
            arguments.append(Argument(losses.TARGET, "input", losses.target_example(loss, prediction)))
    state = [argument for argument in arguments if argument.role != "input"]
    inputs = [argument for argument in arguments if argument.role == "input"]
    return [*state, *_optimizer_arguments(model, options, mode), *inputs]


@contextmanager
def explained(model: Model) -> Iterator[None]:
    """Turn what the model's own code raises while it is traced into an error at the user's line."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except JogakError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise JogakError(
            f"{error.func} makes the program depend on values of its inputs",
            where=_error_place(error, model),
            hint="shapes and control flow must be fixed: avoid item(), nonzero() and `if` on a tensor",
        ) from error
    except Exception as error:
        raise JogakError(
            f"the model raised {type(error).__name__}: {error}",
            where=_error_place(error, model),
            hint="run the model once in eager mode",
        ) from error
    finally:
        log.setLevel(level)


def _error_place(error: BaseException, model: Model) -> str:
    frames = python_traceback.extract_tb(error.__traceback__)
    place = innermost_user_place([(frame.filename, frame.lineno or 0) for frame in reversed(frames)])
    return f"{place[0]}:{place[1]}" if place[0] else model.where


def _trace(step: Step, arguments: Sequence[Argument], mode: FakeTensorMode) -> fx.GraphModule:
    functional = dispatch_functionalize(step, FunctionalTensorMode())
    with mode, traceback.preserve_node_meta():
        return make_fx(functional, decomposition_table=decomposition_table(), tracing_mode="real")(
            *(argument.example for argument in arguments)
        )


def _traced(
    model: Model, options: ImportOptions, arguments: Sequence[Argument], mode: FakeTensorMode
) -> tuple[Step, fx.GraphModule]:
    """The graph of a model, with equal layers traced once; where that cannot be done, every layer is traced."""
    with layer_calls() as layers:
        step = Step(model, options, arguments, (mode, layers))
        try:
            graph = _trace(step, arguments, mode)
        except Exception:
            complete = False  # the trace below tells it, at the user's line
        else:
            complete = not _foreign(graph)
    if complete:
        insert_layers(graph, layers)
        return step, graph
    step = Step(model, options, arguments)
    with explained(model):
        return step, _trace(step, arguments, mode)


def _foreign(graph: fx.GraphModule) -> bool:
    """Whether a graph reads what a layer that was traced by itself has handed on behind the model's back."""
    held = [getattr(graph, str(node.target)) for node in graph.graph.find_nodes(op="get_attr")]
    outputs: Any = graph.graph.output_node().args[0]
    return any(isinstance(each, FakeTensor) for each in [*held, *outputs])


def _source(node: Any) -> Any:
    while isinstance(node, fx.Node) and node.target in _ALIASES:
        node = node.args[0]
    return node


def _placeholders(graph: fx.GraphModule, arguments: Sequence[Argument]) -> dict[str, fx.Node]:
    nodes = graph.graph.find_nodes(op="placeholder")
    return {argument.name: node for argument, node in zip(arguments, nodes, strict=True)}


def _outcome(
    step: Step, graph: fx.GraphModule, arguments: Mapping[str, fx.Node], mode: FakeTensorMode
) -> list[tuple[Result, fx.Node]]:
    """Every result with its node, updates in the order of the arguments, those that change nothing left out."""
    values: Any = graph.graph.output_node().args[0]
    outcome = list(zip(step.results, values, strict=False))
    if step.options.optimizer is not None:
        gradients = dict(zip(step.gradients, values[len(step.results) :], strict=True))
        updates = Updates(step.options.optimizer, graph.graph, arguments, mode).append(gradients)
        outcome += [(Result(name, "update", name), node) for name, node in updates.items()]
    order = {name: number for number, name in enumerate(arguments)}
    outcome.sort(key=lambda each: order[each[0].updates] if each[0].updates else -1)
    return [
        (result, node)
        for result, node in outcome
        if result.updates is None or _source(node) is not arguments[result.updates]
    ]


def _prune(graph: fx.GraphModule, arguments: Sequence[Argument], placeholders: Mapping[str, fx.Node]) -> list[Argument]:
    """Drop dead nodes, and arguments that nothing reads, except inputs."""
    graph.graph.eliminate_dead_code()
    remaining = []
    for argument in arguments:
        node = placeholders[argument.name]
        if node.users or argument.role == "input":
            remaining.append(argument)
        else:
            graph.graph.erase_node(node)
    return remaining


def _lift_constants(graph: fx.GraphModule) -> dict[str, Tensor]:
    """Turn tensor constants into placeholders before the inputs; those of one element into `full`.

    Returns:
        The values of the new arguments by name.
    """
    lifted: dict[str, tuple[Tensor, fx.Node]] = {}
    first = next(iter(graph.graph.nodes))
    for node in list(graph.graph.find_nodes(op="get_attr")):
        value = getattr(graph, str(node.target))
        if value.numel() == 1:
            with graph.graph.inserting_before(node):
                replacement = graph.graph.call_function(
                    torch.ops.aten.full.default, (list(value.shape), value.item()), {"dtype": value.dtype}
                )
        else:
            name = constant_name(value)
            if name not in lifted:
                with graph.graph.inserting_before(first):
                    lifted[name] = (value, graph.graph.placeholder(name.replace(".", "_")))
            replacement = lifted[name][1]
        replacement.meta = dict(node.meta)
        replacement.meta.setdefault("val", value)
        node.replace_all_uses_with(replacement)
        graph.graph.erase_node(node)
    return {name: value for name, (value, _) in lifted.items()}


def trace_model(model: Model, options: ImportOptions) -> Program:
    """Trace a model under fake tensors: nothing is computed, and no weight is read.

    Raises:
        JogakError: the model fails on its example inputs, draws random numbers, depends on values of its inputs, or has
            no loss to train on.
    """
    model.set_training(options.training)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    arguments = all_arguments(model, options, mode)
    step, graph = _traced(model, options, arguments, mode)
    constants = _lift_constants(graph)
    arguments = [*(Argument(name, "buffer", value) for name, value in constants.items()), *arguments]
    placeholders = _placeholders(graph, arguments)
    outcome = _outcome(step, graph, placeholders, mode)
    graph.graph.output_node().args = (tuple(node for _, node in outcome),)
    remaining = _prune(graph, arguments, placeholders)
    graph.graph.lint()
    return Program(graph, remaining, [result for result, _ in outcome], constants)
