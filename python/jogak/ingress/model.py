"""A loaded model, whatever it came from, and how a MODEL argument of the command line names one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from jogak.errors import JogakError, nearest
from jogak.ingress.naming import input_names
from jogak.ingress.options import ImportOptions, Loss

BUILDERS = ("zoo", "hf")


@dataclass
class Model:
    """A module with example inputs.

    Attributes:
        name: what the user called it.
        module: the model; its tensors may be on the meta device.
        args: example inputs; every tensor in them becomes an input of `@main`.
        kwargs: the same, passed by name.
        loss: loss for training unless the user names one; None when the model returns its own.
        bounds: exclusive upper bound of the values of integer inputs, by input name.
        build_real: builds the same model with weights and inputs that have values; None when this one has them.
        names: the inputs' names, in the order of the tensors in `(args, kwargs)`.
        where: the place that errors about the model point to.
        exported: the module came from torch.export, so it has one fixed mode (training or evaluation).
    """

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    loss: Loss | None = None
    bounds: dict[str, int] = field(default_factory=dict)
    build_real: Callable[[], Model] | None = None
    names: list[str] = field(default_factory=list)
    where: str = ""
    exported: bool = False

    def __post_init__(self) -> None:
        self.where = self.where or self.name
        adopt_tensor_attributes(self.module)
        if not self.names:
            self.names = input_names(self.module, self.args, self.kwargs)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The example of every input by name."""
        leaves = [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]
        return dict(zip(self.names, leaves, strict=True))

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Every parameter by its first fully qualified name."""
        return dict(self.module.named_parameters())

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Every buffer, persistent or not, by its first fully qualified name."""
        return dict(self.module.named_buffers())

    @property
    def trainable(self) -> set[str]:
        """Names of the parameters that require a gradient."""
        return {name for name, parameter in self.module.named_parameters() if parameter.requires_grad}

    @property
    def on_meta(self) -> bool:
        """Whether some parameter or buffer has no value."""
        return any(value.is_meta for value in [*self.parameters.values(), *self.buffers.values()])

    def rebuild(self, tensors: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`(args, kwargs)` with the tensors replaced, in order; values that are no tensors stay."""
        leaves, structure = pytree.tree_flatten((self.args, self.kwargs))
        given = iter(tensors)
        replaced = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(replaced, structure)
        return args, kwargs

    def set_training(self, training: bool) -> None:
        """Put the module into training or evaluation mode, where it has both."""
        if not self.exported:
            self.module.train(training)


def adopt_tensor_attributes(module: nn.Module) -> None:
    """Turn tensors that modules keep as plain attributes into buffers, so that they become arguments like any other."""
    for submodule in module.modules():
        plain = [name for name, value in vars(submodule).items() if isinstance(value, Tensor)]
        for name in plain:
            value = vars(submodule).pop(name)
            submodule.register_buffer(name, value.detach(), persistent=False)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a generator seeded with `seed` inside, and leave the caller's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _suggest_file(path: Path) -> str:
    siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, siblings)
    return f"did you mean {path.with_name(close)}?" if close else "check the path"


def require_file(path: Path) -> Path:
    """The path, if there is a file.

    Raises:
        JogakError: there is none; a file with a similar name is suggested.
    """
    if path.is_dir():
        raise JogakError("is a directory, not a model", where=str(path), hint="give a file inside it")
    if not path.is_file():
        raise JogakError("no such file", where=str(path), hint=_suggest_file(path))
    return path


def builder_of(spec: str) -> str | None:
    """`zoo` or `hf` when the specification names one."""
    prefix, colon, _ = spec.partition(":")
    return prefix if colon and prefix in BUILDERS else None


def is_program_file(spec: str) -> bool:
    """Whether the specification names a file that holds a program rather than a PyTorch model."""
    return builder_of(spec) is None and Path(spec).suffix in (".mlir", ".onnx")


def split_query(spec: str) -> tuple[str, dict[str, str]]:
    """`NAME?option=value&other=value` as name and options.

    Raises:
        JogakError: an option has no value, or is given twice.
    """
    name, _, query = spec.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise JogakError(
            f"cannot read the options {query!r}", where=spec, hint="write NAME?option=value&option=value"
        ) from None
    options = dict(pairs)
    if len(options) != len(pairs):
        raise JogakError("an option is given twice", where=spec, hint="give each option once")
    return name, options


def _build_entry(kind: str, name: str, options: dict[str, str]) -> Any:
    if kind == "zoo":
        from jogak import zoo

        return zoo.build(name, options)
    from jogak.ingress import hf

    return hf.build(name, options)


_DRAWS = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)


class _NoNumbers(TorchFunctionMode):
    """Weights of the meta device are not drawn: PyTorch does that in Python, for tensors that hold nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        tensor = args[0] if args else given.get("tensor")
        if func in _DRAWS and isinstance(tensor, Tensor) and tensor.is_meta:
            return tensor
        return func(*args, **given)


def _load_entry(spec: str, kind: str, seed: int) -> Model:
    """A model of the zoo or of Hugging Face: built on the meta device, and again with values when they are needed."""
    named, options = split_query(spec)
    name = named.partition(":")[2]

    def build(device: str) -> Model:
        with torch.device(device), seeded(seed), _NoNumbers():
            entry = _build_entry(kind, name, options)
        real = (lambda: build("cpu")) if device == "meta" else None
        return Model(spec, entry.module, entry.args, dict(entry.kwargs), entry.loss, dict(entry.bounds), real)

    return build("meta")


def load_model(spec: str, options: ImportOptions) -> Model:
    """Load the model that a MODEL argument names.

    Args:
        spec: `zoo:NAME?option=value`, `hf:NAME?option=value`, `file.py:callable`, `package.module:callable`, or a
            `.pt2` file.
        options: `seed` decides the weights of a model that draws them.

    Raises:
        JogakError: the specification is malformed, or what it names does not exist or is not a model.
    """
    kind = builder_of(spec)
    if kind is not None:
        return _load_entry(spec, kind, options.seed)
    if Path(spec).suffix == ".pt2":
        from jogak.ingress.exported import load_exported

        return load_exported(require_file(Path(spec)))
    from jogak.ingress.callables import load_callable

    return load_callable(spec, options.seed)
