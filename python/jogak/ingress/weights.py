"""Values of parameters and buffers outside the IR: one safetensors file beside the manifest."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from jogak.errors import JogakError

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8


def _header(weights: Mapping[str, Tensor]) -> bytes:
    """The safetensors header: name to dtype, shape and position, padded to a multiple of 8 bytes."""
    entries, offset = {}, 0
    for name, value in weights.items():
        if value.dtype not in _DTYPES:
            raise JogakError(f"weights of type {value.dtype} cannot be written", where=name, hint="convert the model")
        end = offset + value.numel() * value.element_size()
        entries[name] = {"dtype": _DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)


def write_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write the weights one tensor at a time, sorted by name; the file takes its name when it is whole.

    Args:
        weights: values by name.
        path: the `.safetensors` file; its folder is made.

    Raises:
        JogakError: a tensor has a type that the format does not know.
    """
    ordered = {name: weights[name] for name in sorted(weights)}
    header = _header(ordered)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(header)))
        file.write(header)
        for value in ordered.values():
            file.write(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    partial.replace(path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file.

    Raises:
        JogakError: there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise JogakError("no such file", where=str(path), hint="compile the model again")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise JogakError(f"cannot be read: {error}", where=str(path), hint="compile the model again") from error
