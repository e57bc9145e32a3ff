"""Between our checkpoints, a PyTorch state_dict, and torch.distributed.checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from jogak.errors import JogakError
from jogak.targets.distributed.rank.checkpoint import Checkpoint
from jogak.targets.distributed.rank.errors import RunError


def state_dict_of(checkpoint: Path) -> dict[str, Tensor]:
    """Every value of a checkpoint, whole, under the name and in the shape that PyTorch knows it by.

    Parameters and buffers have the names of the module's own state_dict; optimizer state is `exp_avg.NAME` and so on.

    Raises:
        JogakError: it is incomplete or damaged.
    """
    try:
        with Checkpoint(checkpoint) as source:
            return {name: source.whole(name) for name in source}
    except RunError as error:
        raise JogakError(str(error), hint="give the folder of one checkpoint, step-NNNNNNNN") from None


def write_distributed(values: Mapping[str, Tensor], folder: Path) -> None:
    """Write values in the format of torch.distributed.checkpoint."""
    save(dict(values), checkpoint_id=str(folder), no_dist=True)


def read_distributed(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint of torch.distributed.checkpoint, whole.

    Raises:
        JogakError: there is none.
    """
    try:
        metadata = FileSystemReader(str(folder)).read_metadata().state_dict_metadata
    except OSError as error:
        raise JogakError(f"no checkpoint: {error.strerror}", where=str(folder), hint="give its folder") from None
    values = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    load(values, checkpoint_id=str(folder), no_dist=True)
    return values
