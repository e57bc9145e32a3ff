"""Between the order in which a model holds a value's elements and the one in which the program stores them.

A described value (an entry of the manifest) has the `shape` of the program; where the model's differs, `logical_shape`.
A dimension of the model that consists of parts of unequal size (queries, keys and values of one weight) may be stored
as shares, each with an equal portion of every part: `shares` says for each dimension of `logical_shape` how many rows
of each part one share holds, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def stored(value: Tensor, entry: Mapping[str, Any]) -> Tensor:
    """A whole value as the program stores it; one that has the program's shape is taken to be that already.

    Args:
        value: in any shape of its elements in the model's order.
        entry: the value in the manifest.
    """
    shape = list(entry["shape"])
    if list(value.shape) == shape:
        return value
    if "shares" in entry:
        value = value.reshape(list(entry["logical_shape"]))
        for dim, sizes in enumerate(entry["shares"]):
            if sizes:
                value = _to_shares(value, dim, sizes)
    return value.reshape(shape)


def logical(value: Tensor, entry: Mapping[str, Any]) -> Tensor:
    """A whole value in the model's shape and order, from what the program stores."""
    shape = list(entry.get("logical_shape", entry["shape"]))
    if "shares" in entry:
        value = value.reshape(shape)
        for dim, sizes in enumerate(entry["shares"]):
            if sizes:
                value = _from_shares(value, dim, sizes)
    return value.reshape(shape)


def _to_shares(value: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    count = value.shape[dim] // sum(sizes)
    parts = torch.split(value, [count * size for size in sizes], dim)
    spread = [torch.unflatten(part, dim, (count, size)) for part, size in zip(parts, sizes, strict=True)]
    return torch.cat(spread, dim + 1).flatten(dim, dim + 1)


def _from_shares(value: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    count = value.shape[dim] // sum(sizes)
    portions = torch.split(torch.unflatten(value, dim, (count, sum(sizes))), list(sizes), dim + 1)
    return torch.cat([portion.flatten(dim, dim + 1) for portion in portions], dim)
