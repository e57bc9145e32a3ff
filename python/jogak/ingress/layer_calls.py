"""What a layer's code calls: recorded in one run, and compared in another run that computes nothing.

Two layers of one class do the same when their code makes the same calls with the same arguments. So the code of a later
layer is run on the tensors of the first one: each call must be the recorded one, and gets the recorded result. Whatever
decides what a layer does (numbers in its attributes, flags, the mode of autograd) is seen by what it calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree


class NotRepeatable(BaseException):
    """A layer does what it cannot be copied for, or not what the recorded one did; no user's `except` may catch it."""


@dataclass(frozen=True)
class Flat:
    """A nested Python value: its leaves, and how they were nested."""

    leaves: Sequence[Any]
    structure: pytree.TreeSpec

    @staticmethod
    def of(value: Any) -> Flat:
        """The value, which may be changed afterwards."""
        return Flat(*pytree.tree_flatten(value))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Flat)
            and self.structure == other.structure
            and all(_same(mine, yours) for mine, yours in zip(self.leaves, other.leaves, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]


def _same(mine: Any, yours: Any) -> bool:
    """Tensors are the same when they are one object; what can be looked into is compared, with its type."""
    if mine is yours:
        return True
    return type(mine) is type(yours) and isinstance(mine, _PLAIN) and bool(mine == yours)


_PLAIN = (bool, int, float, complex, str, slice, torch.Size, torch.dtype, torch.device)


def _state() -> tuple[Any, ...]:
    """Switches that decide what a call does, and that code can turn without a call that is seen."""
    mixed = torch.is_autocast_enabled("cpu")
    return torch.is_grad_enabled(), mixed, torch.get_autocast_dtype("cpu") if mixed else None


@dataclass(frozen=True)
class Call:
    """One call of a function of PyTorch, by the code of a layer itself."""

    function: Any
    arguments: Flat
    state: tuple[Any, ...]
    result: Any


class Recorder(TorchFunctionMode):
    """Records the calls inside.

    Args:
        known: the tensors that may be read, beside the results of calls.

    Raises:
        NotRepeatable: inside, another tensor is read.
    """

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._known = {id(each) for each in known}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        arguments = Flat.of((args, kwargs or {}))
        for leaf in arguments.leaves:
            if isinstance(leaf, slice):
                parts: tuple[Any, ...] = (leaf.start, leaf.stop, leaf.step)
            else:
                parts = (leaf,)
            if any(isinstance(part, Tensor) and id(part) not in self._known for part in parts):
                raise NotRepeatable("it reads a tensor that is no argument")
        state = _state()
        result = func(*args, **(kwargs or {}))
        # Kept by the call, so that no later tensor has the same id.
        self._known.update(id(each) for each in pytree.tree_leaves(result) if isinstance(each, Tensor))
        self.calls.append(Call(func, arguments, state, list(result) if isinstance(result, list) else result))
        return result


class Replay(TorchFunctionMode):
    """Answers the calls inside by the results of recorded ones.

    Raises:
        NotRepeatable: inside, a call is not the recorded one; `finish` raises it where calls are missing.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        super().__init__()
        self._calls = calls
        self._next = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = self._calls[self._next] if self._next < len(self._calls) else None
        self._next += 1
        if (
            call is None
            or func != call.function
            or _state() != call.state
            or Flat.of((args, kwargs or {})) != call.arguments
        ):
            raise NotRepeatable("it calls something else")
        return list(call.result) if isinstance(call.result, list) else call.result

    def finish(self) -> None:
        """Tell that the code has ended."""
        if self._next != len(self._calls):
            raise NotRepeatable("it calls less")


class Attributes:
    """What the modules of a layer hold before it runs, beside parameters and buffers.

    A layer that keeps something for later (a loss of its own, a count) does more than what its calls show.
    """

    def __init__(self, layer: nn.Module) -> None:
        holders: list[Any] = [vars(module) for module in layer.modules()]
        own = ("_parameters", "_buffers", "_modules")
        holders += [
            value
            for held in list(holders)
            for name, value in held.items()
            if name not in own and isinstance(value, (list, dict, set))
        ]
        self._held = [(holder, copy(holder)) for holder in holders]

    def changed(self) -> bool:
        """Whether anything is held now that was not, or the other way round."""
        return any(not _alike(now, before) for now, before in self._held)

    def restore(self) -> None:
        """Hold again what was held."""
        for now, before in self._held:
            if not _alike(now, before):
                now.clear()
                now.extend(before) if isinstance(now, list) else now.update(before)


def _alike(now: Any, before: Any) -> bool:
    """Whether two containers hold the same objects."""
    if isinstance(now, dict):
        return now.keys() == before.keys() and all(now[key] is before[key] for key in before)
    if isinstance(now, set):
        return len(now) == len(before) and {id(each) for each in now} == {id(each) for each in before}
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))
