"""What PyTorch itself computes, in eager mode on one device, independent of our trace: the measure of every check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from jogak.errors import JogakError
from jogak.ingress import losses, optimizers
from jogak.ingress.checkpoints import Again, repeating
from jogak.ingress.constants import ConstantMode
from jogak.ingress.importer import Imported, import_program
from jogak.ingress.model import Model, is_program_file, load_model, seeded
from jogak.ingress.naming import tensor_leaves
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.randomness import SEED, counted_draws
from jogak.ingress.step import chosen_loss, no_loss, precision
from jogak.ingress.trace import model_arguments, output_example

_NARROW = (torch.float32, torch.bfloat16, torch.float16)
_INITIAL_SCALE = 0.02


def real_model(model: Model, seed: int) -> Model:
    """The model with values: itself, built again, or (on the meta device) initialized by its own modules' rules.

    Raises:
        JogakError: a buffer without a value has no rule.
    """
    if model.build_real is not None:
        return model.build_real()
    if not model.on_meta:
        return model
    with seeded(seed):
        _initialize(model)
    return model


def _initialize(model: Model) -> None:
    """Give meta tensors values: `reset_parameters` where a module has it, else a small normal distribution."""
    empty = [module for module in model.module.modules() if any(tensor.is_meta for tensor in _own(module))]
    for module in empty:
        reset = getattr(module, "reset_parameters", None)
        missing = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        if missing and reset is None:
            raise JogakError(
                f"buffer {missing[0]!r} of {type(module).__name__} is on the meta device and has no value",
                where=model.where,
                hint="build the model on the CPU to run it, or give the module a reset_parameters method",
            )
        module.to_empty(device="cpu", recurse=False)
        if reset is not None:
            reset()
            continue
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, std=_INITIAL_SCALE)


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _random_like(example: Tensor, bound: int | None, generator: torch.Generator) -> Tensor:
    """Random values of the example's shape and dtype; integers below `bound`, or those of the example."""
    shape = tuple(example.shape)
    if example.is_floating_point():
        return torch.randn(shape, generator=generator).to(example.dtype)
    if bound is not None:
        return torch.randint(0, bound, shape, generator=generator).to(example.dtype)
    if example.is_meta:
        return torch.zeros(shape, dtype=example.dtype)
    # The model may need more of its integers than a range: to be distinct, sorted, or row offsets.
    return example.clone()


def _target(model: Model, options: ImportOptions, generator: torch.Generator) -> dict[str, Tensor]:
    loss = chosen_loss(model, options) if options.training else None
    if loss is None:
        return {}
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    prediction = output_example(model, model_arguments(model, mode), mode, options)
    with mode:
        example = losses.target_example(loss, prediction)
    bound = model.bounds.get(losses.TARGET, losses.target_bound(loss, prediction))
    return {losses.TARGET: _random_like(example, bound, generator)}


def _constants(model: Model, options: ImportOptions) -> dict[str, Tensor]:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    constants = ConstantMode()
    with constants:
        output_example(model, model_arguments(model, mode), mode, options)
    return constants.constants()


def _optimizer_state(model: Model, optimizer: Optimizer) -> dict[str, Tensor]:
    state = {
        f"{slot}.{name}": torch.zeros_like(value)
        for slot in optimizers.state_slots(optimizer)
        for name, value in model.parameters.items()
        if name in model.trainable
    }
    return {**state, optimizers.STEP: torch.zeros(())} if optimizers.counts_steps(optimizer) else state


def _cast(values: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: value.detach().to(dtype if dtype and value.is_floating_point() else value.dtype, copy=True)
        for name, value in values.items()
    }


def initial_values(spec: str, options: ImportOptions, *, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """A value for every argument of `@main`, by name.

    Parameters and buffers have the model's own values, or those that the seed gives; optimizer state is zero; inputs
    are drawn from the seed. Values that the program turns out not to read (unused buffers) are there too.

    Args:
        spec: MODEL argument.
        options: of the program.
        dtype: cast every floating-point value to it.

    Raises:
        JogakError: the model cannot be loaded, or has no values.
    """
    if is_program_file(spec):
        return _cast(_program_values(import_program(spec, options), options.seed), dtype)
    return values_of(load_model(spec, options), options, dtype=dtype)


def _program_values(imported: Imported, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: _random_like(example, None, generator) for name, example in imported.inputs.items()}
    return {**inputs, **(imported.weights or {})}


def values_of(model: Model, options: ImportOptions, *, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """`initial_values` of a model that is loaded."""
    model = real_model(model, options.seed)
    model.set_training(options.training)
    generator = torch.Generator().manual_seed(options.seed)
    inputs = {name: _random_like(x, model.bounds.get(name), generator) for name, x in model.inputs.items()}
    seed = torch.tensor(options.seed, dtype=torch.int32)
    values = {**_constants(model, options), **model.parameters, **model.buffers, SEED: seed}
    if options.optimizer is not None:
        values |= _optimizer_state(model, options.optimizer)
    return _cast({**values, **inputs, **_target(model, options, generator)}, dtype)


class _Widened(TorchFunctionMode):
    """Replaces every narrower floating-point type that the model's code names by f64."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.float, Tensor.half, Tensor.bfloat16):
            func = Tensor.double
        if func is functional.rms_norm:
            return _rms_norm(*args, **(kwargs or {}))
        args, kwargs = pytree.tree_map(_widen, (args, kwargs or {}))
        return func(*args, **kwargs)


def _rms_norm(
    input: Tensor, normalized_shape: list[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """With the default epsilon of f32, which is that of the program."""
    return functional.rms_norm(input, normalized_shape, weight, torch.finfo(torch.float32).eps if eps is None else eps)


def _widen(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _NARROW else value


@contextmanager
def _computing_in(dtype: torch.dtype | None, options: ImportOptions) -> Iterator[None]:
    before = torch.get_default_dtype()
    if dtype is torch.float64:
        torch.set_default_dtype(dtype)
    try:
        with _Widened() if dtype is torch.float64 else nullcontext(), nullcontext() if dtype else precision(options):
            yield
    finally:
        torch.set_default_dtype(before)


def _load(model: Model, values: Mapping[str, Tensor], dtype: torch.dtype | None) -> None:
    if dtype is not None:
        model.module.to(dtype)
    with torch.no_grad():
        for name, tensor in {**model.parameters, **model.buffers}.items():
            if name in values:
                tensor.copy_(values[name])


def _torch_optimizer(
    model: Model, optimizer: Optimizer, values: Mapping[str, Tensor]
) -> tuple[torch.optim.Optimizer, dict[str, str]]:
    """The real optimizer with the state in `values`, and torch's name of each of our slots."""
    parameters = [value for name, value in model.parameters.items() if name in model.trainable]
    real: torch.optim.Optimizer
    if optimizer.kind == "adamw":
        real = torch.optim.AdamW(
            parameters,
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
            foreach=False,
        )
        slots = {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"}
    else:
        real = torch.optim.SGD(
            parameters,
            lr=optimizer.learning_rate,
            momentum=optimizer.momentum,
            weight_decay=optimizer.weight_decay,
            foreach=False,
        )
        slots = {"momentum": "momentum_buffer"} if optimizer.momentum else {}
    for name, parameter in model.parameters.items():
        if name not in model.trainable:
            continue
        state = {theirs: values[f"{ours}.{name}"].clone() for ours, theirs in slots.items()}
        if optimizers.counts_steps(optimizer):
            state["step"] = values[optimizers.STEP].clone()
        real.state[parameter] = state
    return real, slots


def _eager_loss(model: Model, options: ImportOptions, output: Any, values: Mapping[str, Tensor]) -> Tensor:
    loss = chosen_loss(model, options)
    if loss is not None:
        return losses.apply_loss(loss, losses.prediction(output), values[losses.TARGET])
    own = losses.own_loss(output)
    if own is None:
        raise no_loss(model)
    return own


def _train(
    model: Model, options: ImportOptions, optimizer: Optimizer, values: Mapping[str, Tensor], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    args, kwargs = model.rebuild([values[name] for name in model.names])
    real, slots = _torch_optimizer(model, optimizer, values)

    def again(start: int) -> Again:
        @contextmanager
        def context() -> Iterator[None]:
            with _computing_in(dtype, options), counted_draws(values[SEED], start):
                yield

        return context

    with _computing_in(dtype, options), counted_draws(values[SEED]) as draws, repeating(lambda: again(draws.count)):
        loss = _eager_loss(model, options, model.module(*args, **kwargs), values)
    real.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    real.step()
    results = {"loss": loss.detach(), **{name: value.detach() for name, value in model.parameters.items()}}
    for name, parameter in model.parameters.items():
        state = real.state.get(parameter, {})
        results |= {f"{ours}.{name}": state[theirs] for ours, theirs in slots.items() if theirs in state}
    if optimizers.counts_steps(optimizer):
        results[optimizers.STEP] = values[optimizers.STEP] + 1
    return {**results, **model.buffers, **draws.next_seed()}


def run_reference(
    spec: str, options: ImportOptions, values: Mapping[str, Tensor], *, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Run the real module, autograd and `torch.optim` on the given values.

    Args:
        spec: MODEL argument.
        options: of the program.
        values: a value for every argument of `@main`, by name.
        dtype: `torch.float64` runs everything in double precision; None keeps the model's own types.

    Returns:
        Every result of `@main` by name. Parameters and buffers that the program does not change are there too.

    Raises:
        JogakError: the model cannot be loaded, has no loss to train on, or is no PyTorch model.
    """
    if is_program_file(spec):
        raise JogakError("there is no PyTorch model to compare with", where=spec, hint="give the model itself")
    return reference_of(load_model(spec, options), options, values, dtype=dtype)


def reference_of(
    model: Model, options: ImportOptions, values: Mapping[str, Tensor], *, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """`run_reference` of a model that is loaded; the model's parameters and buffers are overwritten."""
    model = real_model(model, options.seed)
    model.set_training(options.training)
    _load(model, values, dtype)
    values = _cast(values, dtype)
    if options.optimizer is not None:
        results = _train(model, options, options.optimizer, values, dtype)
    else:
        args, kwargs = model.rebuild([values[name] for name in model.names])
        with torch.no_grad(), _computing_in(dtype, options), counted_draws(values[SEED]) as draws:
            results = dict(tensor_leaves("output", model.module(*args, **kwargs)))
        results |= draws.next_seed()
    return {name: value.detach().clone() for name, value in results.items()}
