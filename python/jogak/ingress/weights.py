"""Values of parameters and buffers outside the IR: one safetensors file beside the manifest."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from jogak.errors import JogakError

FILE = Path("weights") / "parameters.safetensors"
"""Where the weights are, relative to the output folder."""

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
            raise JogakError(f"weights of type {value.dtype} cannot be written", where=name, hint="convert the model first")
        end = offset + value.numel() * value.element_size()
        entries[name] = {"dtype": _DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)


def write_weights(weights: Mapping[str, Tensor], folder: Path) -> Path:
    """Write the weights one tensor at a time, sorted by name, and put the file in place when it is whole.

    Args:
        weights: values by name.
        folder: the output folder; `FILE` is below it.

    Returns:
        The path of the file.

    Raises:
        JogakError: a tensor has a type that the format does not know.
    """
    ordered = {name: weights[name] for name in sorted(weights)}
    header = _header(ordered)
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(header)))
        file.write(header)
        for value in ordered.values():
            plain = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
            file.write(memoryview(plain.numpy()))
    os.replace(partial, path)
    return path


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights that were written below an output folder; empty when there are none.

    Raises:
        JogakError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except SafetensorError as error:
        raise JogakError(f"cannot be read: {error}", where=str(path), hint="compile the model again") from error
