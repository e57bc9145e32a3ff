"""Where in the user's source every traced op comes from: file, line and module path, forward and backward.

A dispatch mode sees each op while the user's Python frames are still on the stack. An op of the backward pass has no
such frames; autograd gives it the sequence number of the forward op that it belongs to, and so that op's place.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import fx, nn
from torch.fx import traceback
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from jogak.errors import JogakError

_TORCH = str(Path(torch.__file__).parent)
_MODULES = str(Path(_TORCH) / "nn" / "modules")
_OURS = str(Path(__file__).parent)
_KEY = "jogak.place"
_FRAME = re.compile(r'File "([^"]+)", line ([0-9]+)')


@dataclass(frozen=True)
class Place:
    """A line of the user's source and the path of the module that ran it."""

    file: str = ""
    line: int = 0
    scope: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "<unknown>"


UNKNOWN = Place()


def place_of(node: fx.Node) -> Place:
    """The place that was recorded for a traced node."""
    place = node.meta.get("custom", {}).get(_KEY, UNKNOWN)
    return place if isinstance(place, Place) else UNKNOWN


def put_place(node: fx.Node, place: Place) -> None:
    """Record the place of a node that was not traced inside a `PlaceMode`."""
    node.meta["custom"] = {**node.meta.get("custom", {}), _KEY: place}


def innermost_user_place(frames: Iterable[tuple[str, int]]) -> tuple[str, int]:
    """File and line of the first frame outside torch and this package, else of a torch module's own code.

    Args:
        frames: file and line of each frame, innermost first.
    """
    fallback = ("", 0)
    for file, line in frames:
        if not file.startswith((_TORCH, _OURS, "<")):
            return file, line
        if file.startswith(_MODULES) and not fallback[0]:
            fallback = (file, line)
    return fallback


def _user_frames(frame: FrameType | None, boundary: CodeType) -> list[tuple[str, int]]:
    """File and line of a frame and its callers below the function with the code `boundary`; none outside of it."""
    frames: list[tuple[str, int]] = []
    while frame is not None and frame.f_code is not boundary:
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return frames if frame is not None else []


def _exported_place(meta: Mapping[str, Any]) -> Place | None:
    """The place that torch.export stored on the node that is being interpreted."""
    frames = _FRAME.findall(meta.get("stack_trace") or "")
    stack = list((meta.get("nn_module_stack") or {}).values())
    scope = str(stack[-1][0]) if stack else ""
    if not frames:
        return Place(scope=scope) if scope else None
    own = [frame for frame in frames if not frame[0].startswith(_TORCH)]
    file, line = (own or frames)[-1]
    return Place(file, int(line), scope)


class ModuleScopes:
    """The path of the module whose forward is running."""

    def __init__(self, root: nn.Module) -> None:
        self._names = {id(module): name for name, module in reversed(list(root.named_modules()))}
        self._stack: list[str] = []

    @property
    def current(self) -> str:
        """Path of the innermost running module; empty at the root."""
        return self._stack[-1] if self._stack else ""

    def _enter(self, module: nn.Module, _args: Any) -> None:
        self._stack.append(self._names.get(id(module), self.current))

    def _leave(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        self._stack.pop()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Behind the block the same module runs as before, also where it was left from within modules."""
        depth = len(self._stack)
        try:
            yield
        finally:
            del self._stack[depth:]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow modules inside the block."""
        handles = [
            module_hooks.register_module_forward_pre_hook(self._enter),
            module_hooks.register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class PlaceMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives every node that is traced inside it a `Place`, and refuses ops whose result is random.

    Args:
        scopes: follows the running module.
        boundary: code of the function that calls the user's model.
    """

    def __init__(self, scopes: ModuleScopes, boundary: CodeType) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._scopes = scopes
        self._boundary = boundary
        self._by_sequence: dict[int, Place] = {}
        self._last = UNKNOWN
        self.override: str | None = None
        self._repeated: list[CodeType] = []

    @contextmanager
    def repeating(self, boundary: CodeType) -> Iterator[None]:
        """Everything inside is done by the user's code, for the second time, below the function with that code."""
        self._repeated.append(boundary)
        try:
            yield
        finally:
            self._repeated.pop()

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Everything inside belongs to `name` and to no line of the user's."""
        self.override = name
        try:
            yield
        finally:
            self.override = None

    def _backward(self, sequence: int) -> Place:
        place = self._by_sequence.get(sequence)
        if place is not None:
            self._last = place
        return self._last

    def _forward(self) -> Place:
        place = Place(scope=self.override) if self.override is not None else self._user_place()
        # An op without a gradient sees the number of the op before it, which keeps its own place.
        self._by_sequence.setdefault(torch._C._autograd._get_sequence_nr() - 1, place)
        return place

    def _user_place(self) -> Place:
        place = _exported_place(traceback.get_current_meta())
        if place is not None:
            return place
        boundary = self._repeated[-1] if self._repeated else self._boundary
        file, line = innermost_user_place(_user_frames(sys._getframe(4), boundary))
        # Between the ops of the backward pass autograd works on its own, for the op that it has just done.
        return Place(file, line, self._scopes.current) if file else self._last

    def _place(self) -> Place:
        node = torch._C._current_autograd_node()
        if node is not None and not self._repeated:
            return self._backward(node._sequence_nr())
        return self._forward()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        place = self._place()
        if torch.Tag.nondeterministic_seeded in func.tags and _draws(func, args, kwargs or {}):
            raise _random_error(func, place)
        with traceback.annotate({_KEY: place}):
            return func(*args, **(kwargs or {}))


def _draws(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an op that can be random is so: attention and dropout with probability 0 are not."""
    for index, argument in enumerate(func._schema.arguments):
        if argument.name in ("p", "dropout_p"):
            value = args[index] if index < len(args) else kwargs.get(argument.name, argument.default_value)
            return bool(value)
    return True


def _random_error(func: Any, place: Place) -> JogakError:
    name = str(func).removesuffix(".default")
    return JogakError(
        f"{name} draws random numbers, so the program's result would not be determined by its arguments",
        where=str(place),
        hint="draw with dropout, torch.rand, randn or bernoulli, which are counted, or pass random values as inputs",
    )
