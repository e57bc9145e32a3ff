"""The program of a model as a Python function of flat tensors: inference, or one training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import traceback

from jogak.errors import JogakError
from jogak.ingress import losses
from jogak.ingress.checkpoints import REGION, Again, repeating
from jogak.ingress.layer_calls import NotRepeatable
from jogak.ingress.layer_graphs import LayerCalls
from jogak.ingress.model import Model
from jogak.ingress.naming import tensor_leaves
from jogak.ingress.options import ImportOptions, Loss
from jogak.ingress.places import ModuleScopes, PlaceMode
from jogak.ingress.program import Argument, Result
from jogak.ingress.randomness import SEED, Draws, counted_draws
from jogak.ingress.repeated_layers import RepeatedLayers
from jogak.ingress.rewrites import rewritten
from jogak.ingress.stateless import swapped


@contextmanager
def precision(options: ImportOptions) -> Iterator[None]:
    """Automatic mixed precision as the options ask for it."""
    mixed = torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if options.autocast == "bf16" else nullcontext()
    with mixed:
        yield


def run_model(module: nn.Module, state: dict[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the model on other parameters and buffers than its own; tied ones are passed once, by their first name.

    Buffers that the model replaces (rather than changes in place) are replaced in `state`.
    """
    with swapped(module, state):
        return module(*args, **kwargs)


def chosen_loss(model: Model, options: ImportOptions) -> Loss | None:
    """The loss to put on the model's output: the user's, else the model's default; None: the model returns its own."""
    return options.loss or model.loss


Layers = tuple[FakeTensorMode, LayerCalls]


@dataclass
class Step:
    """The function to trace: the model, and in training its loss and gradients, but not the optimizer.

    Running it fills `results` (outputs, or the loss and the buffers after the call) and `gradients`, by parameter.

    Args:
        model: what to run; its own tensors are not touched.
        options: training or inference.
        arguments: names and roles of the flat tensors that `__call__` gets.
        layers: the fake tensors of a trace in which equal layers are traced once, and what takes their copies; None:
            every layer is run as it is.
    """

    model: Model
    options: ImportOptions
    arguments: Sequence[Argument]
    layers: Layers | None = None
    results: list[Result] = field(default_factory=list)
    gradients: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._scopes = ModuleScopes(self.model.module)
        self._places = PlaceMode(self._scopes, run_model.__code__)
        self._regions = 0
        self._layers: RepeatedLayers | None = None
        if self.layers is not None:
            module = self.model.module
            self._layers = RepeatedLayers(module, *self.layers, self._scopes, run_model.__code__)

    def __call__(self, *flat: Tensor) -> tuple[Tensor, ...]:
        """The results, in the order of `results`, then the gradients, in the order of `gradients`."""
        values = {argument.name: value for argument, value in zip(self.arguments, flat, strict=True)}
        with self._places:
            outcome = self._train(values) if self.options.training else self._infer(values)
        self.results = [result for result, _ in outcome]
        return *(value for _, value in outcome), *self.gradients.values()

    def _named(self, values: Mapping[str, Tensor], role: str) -> dict[str, Tensor]:
        return {each.name: values[each.name] for each in self.arguments if each.role == role}

    def _forward(self, values: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """The model's output, and after the call its buffers and, where it drew random numbers, the seed."""
        buffers = {name: value.clone() for name, value in self._named(values, "buffer").items()}
        args, kwargs = self.model.rebuild(list(self._named(values, "input").values()))
        state = {**parameters, **buffers}
        with (
            self._scopes.watching(),
            precision(self.options),
            rewritten(),
            counted_draws(values[SEED]) as draws,
            repeating(lambda: self._again(draws, state)),
            self._layers.watching() if self._layers is not None else nullcontext(),
        ):
            output = run_model(self.model.module, state, args, kwargs)
        return output, {**{name: state[name] for name in buffers}, **draws.next_seed()}

    def _again(self, draws: Draws, state: Mapping[str, Tensor]) -> Again:
        """What the second run of a checkpointed region that starts now is done in: all that the first one has."""
        if self._layers is not None and self._layers.inside:
            raise NotRepeatable("it is done again in the backward pass")
        start, number = draws.count, self._regions
        self._regions += 1

        @contextmanager
        def again() -> Iterator[None]:
            with (
                traceback.annotate({REGION: number}),
                self._places.repeating(Step._train.__code__),
                swapped(self.model.module, dict(state)),
                self._scopes.watching(),
                rewritten(),
                counted_draws(draws.seed, start),
            ):
                yield

        return again

    def forward_only(self, values: Mapping[str, Tensor]) -> Any:
        """The model's output, without a loss or an update."""
        return self._forward(values, self._named(values, "parameter"))[0]

    def _infer(self, values: Mapping[str, Tensor]) -> list[tuple[Result, Tensor]]:
        with torch.no_grad():
            output, after = self._forward(values, self._named(values, "parameter"))
        named = tensor_leaves("output", output)
        if not named:
            losses.prediction(output)
        seed = [(Result(SEED, "update", SEED), after[SEED])] if SEED in after else []
        return [*((Result(name, "output"), value) for name, value in named), *seed]

    def _loss(self, output: Any, values: Mapping[str, Tensor]) -> Tensor:
        loss = chosen_loss(self.model, self.options)
        if loss is None:
            own = losses.own_loss(output)
            if own is None:
                raise no_loss(self.model)
            return own
        with self._places.scope("loss"), precision(self.options):
            predicted, target = losses.prediction(output), values[losses.TARGET]
            if loss == "cross_entropy":
                return losses.labels_loss(predicted, target)
            return losses.apply_loss(loss, predicted, target)

    def _train(self, values: Mapping[str, Tensor]) -> list[tuple[Result, Tensor]]:
        parameters = {name: value.detach() for name, value in self._named(values, "parameter").items()}
        trained = [name for name in parameters if name in self.model.trainable]
        with torch.enable_grad():
            for name in trained:
                parameters[name].requires_grad_()
            output, buffers = self._forward(values, parameters)
            loss = self._loss(output, values)
            if not loss.requires_grad:
                raise JogakError("the loss does not depend on any parameter", where=self.model.where)
            gradients = torch.autograd.grad(loss, [parameters[name] for name in trained], allow_unused=True)
        self.gradients.update({name: each for name, each in zip(trained, gradients, strict=True) if each is not None})
        updates = [(Result(name, "update", name), value) for name, value in buffers.items()]
        return [(Result("loss", "loss"), loss.detach()), *updates]


def no_loss(model: Model) -> JogakError:
    """The error for training a model that returns no loss of its own when none was chosen."""
    return JogakError(
        "training needs a loss, and the model returns none",
        where=model.where,
        hint="choose one with --loss cross_entropy or --loss mse, or return the loss from the model",
    )
