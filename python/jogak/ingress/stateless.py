"""Running a module on other parameters and buffers than its own.

`torch.func.functional_call` puts a module that is registered under two names back wrongly: it swaps its tensors once
for each name, and the second swap takes the first one's for the module's own. Here each holder is visited once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def swapped(module: nn.Module, state: dict[str, Tensor]) -> Iterator[None]:
    """Let a module hold other tensors inside the block; those that are tied get one tensor again.

    Args:
        module: the module, with its submodules.
        state: the tensors by the first name of those that they replace; afterwards what the module holds then, which is
            another object where it was replaced rather than changed in place.
    """
    held = [
        (f"{path}.{name}".removeprefix("."), table, name, tensor)
        for path, each in module.named_modules()
        for table in (each._parameters, each._buffers)
        for name, tensor in table.items()
        if tensor is not None
    ]
    new = {id(tensor): state[name] for name, _, _, tensor in held if name in state}
    try:
        for _, table, name, tensor in held:
            if id(tensor) in new:
                table[name] = new[id(tensor)]
        yield
    finally:
        for full, table, name, tensor in held:
            after = table.get(name)
            if full in state and after is not None:
                state[full] = after
            table[name] = tensor
