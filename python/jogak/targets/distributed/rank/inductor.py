"""Segments through torch.compile's compiler: one compilation for each structure, all of them before the first step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx
from torch._dynamo.utils import GmWrapper
from torch._guards import TracingContext, tracing
from torch._inductor.compile_fx import compile_fx
from torch._inductor.exc import InductorError
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from .errors import RunError
from .mesh import Axes, Margin, Mesh
from .segments import rebuild
from .step import Step

_VIEWS = frozenset(
    ["view", "reshape", "expand", "permute", "transpose", "t", "slice", "select", "squeeze", "unsqueeze", "alias"]
)
_LEAST = 2
"""Operations, views aside, from which compiling a segment can gain anything."""
_SCATTERS = (torch.ops.aten.index_add.default, torch.ops.aten.index_put.default)

Boxed = Callable[[list[Any]], Sequence[Any]]
Signature = tuple[Any, ...]


@dataclass
class Compiled:
    """A segment: its function, and what was compiled of it for each form of its inputs.

    Attributes:
        function: the segment as Python.
        made: by the shapes, strides and types of the inputs.
        wanted: forms that are not compiled yet.
    """

    function: Callable[..., Sequence[Any]]
    made: dict[Signature, Boxed] = field(default_factory=dict)
    wanted: dict[Signature, list[Tensor]] = field(default_factory=dict)

    def __call__(self, held: list[Any]) -> Sequence[Any]:
        """Run it; the list of inputs is emptied, so that they can be freed at their last use."""
        signature = tuple([(value.shape, value.stride(), value.dtype) for value in held])
        ready = self.made.get(signature)
        if ready is not None:
            return ready(held)
        if any(isinstance(value, FakeTensor) for value in held):
            self.wanted[signature] = list(held)
            return self._plain(held)
        self.wanted[signature] = _faked(held)
        self.build(signature)
        return self.made[signature](held)

    def _plain(self, held: list[Any]) -> Sequence[Any]:
        values = list(held)
        held.clear()
        return self.function(*values)

    def build(self, signature: Signature) -> bool:
        """Compile it for one form of inputs; one that has too little to compile, or cannot be traced, stays Python.

        Returns:
            Whether it was compiled.

        Raises:
            RunError: the compiler failed.
        """
        fakes = self.wanted.pop(signature)
        graph = _trace(self.function, fakes)
        if graph is None or _operations(graph) < _LEAST:
            self.made[signature] = self._plain
            return False
        self.made[signature] = _compile(graph, fakes)
        return True


def _faked(values: Sequence[Tensor]) -> list[Tensor]:
    mode = FakeTensorMode()
    return [mode.from_tensor(value) for value in values]


def _trace(function: Callable[..., Any], fakes: Sequence[Tensor]) -> fx.GraphModule | None:
    """The aten operations of a segment; None where they depend on data."""
    mode = _mode_of(fakes)
    try:
        with mode, torch.no_grad():
            graph: fx.GraphModule = make_fx(function)(*fakes)
    except (RuntimeError, TypeError, ValueError):
        return None
    if graph.graph.find_nodes(op="get_attr"):
        return None
    _spread(graph)
    return graph


def _spread(graph: fx.GraphModule) -> None:
    """Give memory of its own to each element of what a scatter starts from.

    Inductor writes wrong values where that is an expanded tensor, or ends with an AssertionError (torch 2.13).
    """
    for node in [each for target in _SCATTERS for each in graph.graph.find_nodes(op="call_function", target=target)]:
        start = node.args[0]
        value = start.meta["val"]
        if any(size > 1 and stride == 0 for size, stride in zip(value.shape, value.stride(), strict=True)):
            with graph.graph.inserting_before(node):
                dense = graph.graph.call_function(
                    torch.ops.aten.clone.default, (start,), {"memory_format": torch.contiguous_format}
                )
            node.replace_input_with(start, dense)
            graph.recompile()


def _mode_of(fakes: Sequence[Any]) -> FakeTensorMode:
    return next((value.fake_mode for value in fakes if isinstance(value, FakeTensor)), None) or FakeTensorMode()


def _operations(graph: fx.GraphModule) -> int:
    called = [node for node in graph.graph.nodes if node.op == "call_function"]
    return sum(getattr(node.target, "overloadpacket", node.target).__name__ not in _VIEWS for node in called)


def _compile(graph: fx.GraphModule, fakes: Sequence[Any]) -> Boxed:
    """Compile a graph.

    Inductor fails with a KeyError where loops that it fuses write a result into an input and nothing in them reads it
    there (torch 2.13, `is_all_write_read_contiguous`). Such a graph is compiled without writing into its inputs, which
    takes the memory of those results on top while it runs.

    Raises:
        RunError: the compiler failed.
    """
    try:
        try:
            boxed = _inductor(graph, fakes)
        except InductorError as error:
            if not isinstance(error.inner_exception, KeyError):
                raise
            boxed = _inductor(_apart(graph, fakes), fakes)
    except Exception as error:
        cause = " ".join(str(error).split())[:500]
        hint = "run without --compile, or make a C++ compiler available (CXX=...)"
        raise RunError(f"torch.compile failed on a segment: {type(error).__name__}: {cause}: {hint}") from error
    return boxed


def _inductor(graph: fx.GraphModule, fakes: Sequence[Any]) -> Boxed:
    """What inductor makes; the wrapper makes the result take its inputs in a list and empty it."""
    with tracing(TracingContext(_mode_of(fakes))), torch.no_grad():
        boxed: Boxed = compile_fx(GmWrapper(graph, tuple), list(fakes))  # type: ignore[arg-type, assignment]
    return boxed


def _apart(graph: fx.GraphModule, fakes: Sequence[Any]) -> fx.GraphModule:
    """A graph that leaves its inputs as they are: what it wrote there it returns in new memory."""
    with _mode_of(fakes), torch.no_grad():
        pure: fx.GraphModule = make_fx(torch.func.functionalize(graph, remove="mutations"))(*fakes)
    for node in pure.graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default):
        kept, value = node.args[:2]
        if kept.op == "placeholder":
            node.replace_all_uses_with(value)
            pure.graph.erase_node(node)
    pure.recompile()
    return pure


class _Rehearsal(Mesh):
    """A rank on which nothing is sent: its collectives give tensors of the right form."""

    def __init__(self, mesh: Mesh) -> None:
        self.axes, self.rank, self.position = mesh.axes, mesh.rank, mesh.position
        self.calls, self._groups, self.recorder = {}, {}, None

    def _start(self, kind: str, axes: Axes, start: Callable[[Any], Any]) -> Any:
        return [] if self.size(axes) > 1 else None

    def _exchange(self, tensor: Tensor, margin: Margin) -> tuple[list[Any], list[tuple[Tensor, Tensor]]]:
        return [], []


def rehearse(main: Callable[..., Any], step: Step) -> None:
    """Run a program twice without numbers, so that its segments see the forms of their inputs.

    The second time the state has the form in which the first step leaves it.
    """
    mesh = _Rehearsal(step.mesh)
    with FakeTensorMode() as mode, torch.no_grad():
        constants = {name: mode.from_tensor(value) for name, value in step.constants.items()}
        given = [torch.empty(shape, dtype=dtype, device=step.device) for _, dtype, shape in step.program.ARGUMENTS]
        results = main(list(given), constants, mesh)
        for number, result in step.updates.items():
            given[number] = results[result]
        main(given, constants, mesh)


def compile_segments(step: Step) -> str:
    """Compile the segments of a step's program, and let it run them from now on; all ranks call it.

    Every rank starts at another one and finds what others have compiled in the compiler's cache on the disk.

    Returns:
        What was done, for people.

    Raises:
        RunError: the compiler failed.
    """
    if hasattr(step.program, "ON_CPU"):
        raise RunError("the program's segments are compiled already: --compile is for the target torch")
    start = time.perf_counter()
    main, segments = compiled_main(step.program)
    rehearse(main, step)
    work = [(segment, signature) for segment in segments for signature in segment.wanted]
    first = len(work) * step.mesh.rank // torch.Size(step.mesh.axes.values()).numel()
    built = [segment.build(signature) for segment, signature in [*work[first:], *work[:first]]]
    step.main = main
    return (
        f"{len(built)} distinct segments: {sum(built)} compiled, {len(built) - sum(built)} too small; "
        f"{time.perf_counter() - start:.1f} s"
    )


def compiled_main(program: ModuleType) -> tuple[Callable[..., Any], list[Compiled]]:
    """`main` of a program with its segments replaced, and the segments."""
    segments: list[Compiled] = []

    def make(text: str) -> Compiled:
        space = dict(vars(program))
        exec(compile(text, "<segment>", "exec"), space)
        segments.append(Compiled(space["segment"]))
        return segments[-1]

    path = Path(str(program.__file__))
    return rebuild(path.read_text(encoding="utf-8"), vars(program), make), segments
