"""What a model source hands to the importer: the module, example inputs, and how to train it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class Entry:
    """A model with everything that is needed to trace it and to feed it.

    Attributes:
        module: the model, its parameters on the device that was current when it was built (`meta` included).
        args: example positional inputs of `forward`, in its order.
        kwargs: example keyword inputs of `forward`.
        loss: the loss to train with by default (`cross_entropy`, `mse`), or None when the module returns its own loss
            or has none.
        bounds: for each integer input its exclusive upper bound, by the parameter name of `forward`; `target` is the
            bound of the class labels that the loss takes.
    """

    module: nn.Module
    args: tuple[Tensor, ...] = ()
    kwargs: dict[str, Tensor] = field(default_factory=dict)
    loss: str | None = None
    bounds: dict[str, int] = field(default_factory=dict)
