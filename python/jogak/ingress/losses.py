"""The loss of a training step: the model's own, or one that is put on its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

from jogak.errors import JogakError
from jogak.ingress.options import Loss

TARGET = "target"
"""Name of the input that holds the labels or the values to reach."""

IGNORED_LABEL = -100
"""The label that PyTorch's cross-entropy leaves out of the mean."""

_SEQUENCE_RANK = 3


def prediction(output: Any) -> Tensor:
    """The tensor that a loss is put on: the output, its `logits`, or its first tensor.

    Raises:
        JogakError: the model returns no tensor.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    first = next((leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)), None)
    if first is None:
        raise JogakError(
            "the model returns no tensor", hint="return a tensor, a tuple, a dict or a dataclass of tensors"
        )
    return first


def own_loss(output: Any) -> Tensor | None:
    """The loss that the model computed itself: a scalar output, its field `loss`, or its first element."""
    if isinstance(output, Tensor):
        return output if output.dim() == 0 else None
    field = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    if isinstance(field, Tensor) and field.dim() == 0:
        return field
    first = output[0] if isinstance(output, (tuple, list)) and output else None
    return first if isinstance(first, Tensor) and first.dim() == 0 else None


def class_dimension(output: Tensor) -> int:
    """The dimension of the classes: the last one, or the channels (1) of image-like output `[N, C, H, W]`."""
    return 1 if output.dim() > _SEQUENCE_RANK else output.dim() - 1


def target_example(loss: Loss, output: Tensor) -> Tensor:
    """An empty target of the shape and dtype that `loss` needs for `output`.

    Raises:
        JogakError: the output has no dimension of classes.
    """
    if loss == "cross_entropy" and output.dim() == 0:
        raise JogakError(
            "the model's output is a single number, not a score for each class",
            hint="leave out --loss to train on the model's own loss",
        )
    if loss == "mse":
        return torch.empty_like(output, requires_grad=False)
    dimension = class_dimension(output)
    shape = [size for i, size in enumerate(output.shape) if i != dimension]
    return output.new_empty(shape, dtype=torch.int64)


def target_bound(loss: Loss, output: Tensor) -> int | None:
    """Exclusive upper bound of the target's values: the number of classes; None for values that are not labels."""
    return output.shape[class_dimension(output)] if loss == "cross_entropy" else None


def apply_loss(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    """The loss as PyTorch computes it: mean over all positions (labels of -100 are ignored) or all elements."""
    if loss == "mse":
        return functional.mse_loss(output, target)
    return functional.cross_entropy(output.movedim(class_dimension(output), min(1, output.dim() - 1)), target)


def labels_loss(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy by comparing labels with class indices, so that it shards over positions and over classes.

    Equal to `apply_loss("cross_entropy", ...)`: the mean runs over the labels that are not -100.
    """
    dimension = class_dimension(output)
    wide = output.to(torch.promote_types(output.dtype, torch.float32))
    log_probability = torch.log_softmax(wide, dimension)
    classes = torch.arange(output.shape[dimension], device=output.device)
    classes = classes.view([-1 if i == dimension else 1 for i in range(output.dim())])
    picked = torch.where(target.unsqueeze(dimension) == classes, log_probability, 0.0)
    count = (target != IGNORED_LABEL).sum().to(wide.dtype)
    # Automatic mixed precision keeps a loss in f32.
    dtype = wide.dtype if torch.is_autocast_enabled(output.device.type) else output.dtype
    return (-picked.sum() / count).to(dtype)
