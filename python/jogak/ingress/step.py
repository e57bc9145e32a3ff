"""The program of a model as a Python function of flat tensors: inference, or one training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from jogak.errors import JogakError
from jogak.ingress import losses, optimizers
from jogak.ingress.model import Model
from jogak.ingress.naming import tensor_leaves
from jogak.ingress.options import ImportOptions, Loss, Optimizer
from jogak.ingress.places import ModuleScopes, PlaceMode
from jogak.ingress.program import Argument, Result
from jogak.ingress.rewrites import rewritten


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
    return functional_call(module, state, args, kwargs, tie_weights=True)


def chosen_loss(model: Model, options: ImportOptions) -> Loss | None:
    """The loss to put on the model's output: the user's, else the model's default; None: the model returns its own."""
    return options.loss or model.loss


@dataclass
class Step:
    """The function to trace. `results` and `optimizer_arguments` are known once it has run.

    Args:
        model: what to run; its own tensors are not touched.
        options: training or inference.
        arguments: names and roles of the flat tensors that `__call__` gets.
    """

    model: Model
    options: ImportOptions
    arguments: Sequence[Argument]
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._scopes = ModuleScopes(self.model.module)
        self._places = PlaceMode(self._scopes, run_model.__code__)

    def __call__(self, *flat: Tensor) -> tuple[Tensor, ...]:
        """The results, in the order of `results`."""
        values = {argument.name: value for argument, value in zip(self.arguments, flat, strict=True)}
        self.results.clear()
        with self._places:
            outcome = self._train(values) if self.options.optimizer else self._infer(values)
        self.results += [result for result, _ in outcome]
        return tuple(value for _, value in outcome)

    def _named(self, values: Mapping[str, Tensor], role: str) -> dict[str, Tensor]:
        return {each.name: values[each.name] for each in self.arguments if each.role == role}

    def _forward(self, values: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """The model's output, and its buffers after the call."""
        buffers = {name: value.clone() for name, value in self._named(values, "buffer").items()}
        args, kwargs = self.model.rebuild(list(self._named(values, "input").values()))
        state = {**parameters, **buffers}
        with self._scopes.watching(), precision(self.options), rewritten():
            output = run_model(self.model.module, state, args, kwargs)
        return output, {name: state[name] for name in buffers}

    def forward_only(self, values: Mapping[str, Tensor]) -> Any:
        """The model's output, without a loss or an update."""
        return self._forward(values, self._named(values, "parameter"))[0]

    def _infer(self, values: Mapping[str, Tensor]) -> list[tuple[Result, Tensor]]:
        with torch.no_grad():
            output, _ = self._forward(values, self._named(values, "parameter"))
        named = tensor_leaves("output", output)
        if not named:
            losses.prediction(output)
        return [(Result(name, "output"), value) for name, value in named]

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
        updates = self._updates(values, dict(zip(trained, gradients, strict=True)))
        updates += [(Result(name, "update", name), value) for name, value in buffers.items()]
        updates.sort(key=lambda each: self._order(each[0].name))
        return [(Result("loss", "loss"), loss.detach()), *updates]

    def _order(self, name: str) -> int:
        return next(i for i, argument in enumerate(self.arguments) if argument.name == name)

    def _updates(
        self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]
    ) -> list[tuple[Result, Tensor]]:
        optimizer = self.options.optimizer
        assert optimizer is not None
        results: list[tuple[Result, Tensor]] = []
        with torch.no_grad():
            scale = None
            if optimizers.counts_steps(optimizer):
                with self._places.scope("optimizer"):
                    step = values[optimizers.STEP] + 1
                    scale = optimizers.corrections(optimizer, step)
                results.append((Result(optimizers.STEP, "update", optimizers.STEP), step))
            for name, gradient in gradients.items():
                if gradient is not None:
                    results += self._update(optimizer, name, values, gradient, scale)
        return results

    def _update(
        self,
        optimizer: Optimizer,
        name: str,
        values: Mapping[str, Tensor],
        gradient: Tensor,
        scale: optimizers.Corrections | None,
    ) -> list[tuple[Result, Tensor]]:
        slots = {slot: f"{slot}.{name}" for slot in optimizers.state_slots(optimizer)}
        state = {slot: values[full] for slot, full in slots.items()}
        with self._places.scope(f"optimizer.{name}"):
            value, after = optimizers.update(optimizer, values[name], gradient, state, scale)
        updates = [(name, value), *((slots[slot], moment) for slot, moment in after.items())]
        return [(Result(full, "update", full), each) for full, each in updates]


def no_loss(model: Model) -> JogakError:
    """The error for training a model that returns no loss of its own when none was chosen."""
    return JogakError(
        "training needs a loss, and the model returns none",
        where=model.where,
        hint="choose one with --loss cross_entropy or --loss mse, or return the loss from the model",
    )
