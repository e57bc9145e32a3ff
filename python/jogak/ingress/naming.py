"""Names for the leaves of nested Python values: inputs by the forward's parameters, outputs by their fields."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree


def _key_text(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key).strip(".[]'\"")


def leaf_name(prefix: str, path: Iterable[Any]) -> str:
    """`prefix` followed by the keys of a pytree path: `output.logits`, `past.0.key`."""
    return ".".join([prefix, *(_key_text(key) for key in path)])


def tensor_leaves(prefix: str, value: Any) -> list[tuple[str, Tensor]]:
    """The tensors in a nested value, each with its name; other leaves are left out."""
    leaves, _ = pytree.tree_flatten_with_path(value)
    return [(leaf_name(prefix, path), leaf) for path, leaf in leaves if isinstance(leaf, Tensor)]


def _argument_prefixes(module: nn.Module, args: tuple[Any, ...]) -> list[str]:
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    return [plain[i] if i < len(plain) else f"{rest}.{i - len(plain)}" for i in range(len(args))]


def input_names(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """The name of every tensor in `(args, kwargs)`, in the order in which a pytree flattens them."""
    names: list[str] = []
    for prefix, value in [*zip(_argument_prefixes(module, args), args, strict=True), *kwargs.items()]:
        names += [name for name, _ in tensor_leaves(prefix, value)]
    return names
