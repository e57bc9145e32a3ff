"""What the user chooses about the program that a model becomes: plain data, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OptimizerKind = Literal["sgd", "adamw"]
Loss = Literal["cross_entropy", "mse"]
Autocast = Literal["bf16"]


@dataclass(frozen=True)
class Optimizer:
    """The optimizer of a training step, with the meaning and the defaults of `torch.optim`.

    Attributes:
        kind: `sgd` or `adamw`.
        learning_rate: step size.
        momentum: of SGD; 0 keeps no momentum buffer.
        betas: decay of AdamW's two moments.
        eps: added to the root of AdamW's second moment.
        weight_decay: decoupled for AdamW, part of the gradient for SGD.
    """

    kind: OptimizerKind
    learning_rate: float = 1e-3
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class ImportOptions:
    """How a model becomes a program.

    Attributes:
        optimizer: set for a training step; None for inference.
        loss: loss on the model's output; None uses the model's own.
        autocast: trace under automatic mixed precision.
        seed: of the weights and inputs of a model that brings none.
    """

    optimizer: Optimizer | None = None
    loss: Loss | None = None
    autocast: Autocast | None = None
    seed: int = 0

    @property
    def training(self) -> bool:
        """Whether the program is a training step."""
        return self.optimizer is not None
