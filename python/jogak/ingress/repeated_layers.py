"""Layers that a model repeats are traced once; the others of their kind get its graph with their own weights.

Tracing takes PyTorch milliseconds an op, of which a deep model has tens of thousands, most of them in equal layers. So
a module that has equals (one class, equal parameters, all the way down) is traced by itself as it is called first.
For each later one its code is run to see whether it calls the same (`layer_calls`); then the graph is copied
(`layer_graphs`). What cannot be copied, or differs, is traced like any other code: nothing is assumed to repeat.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensorMode, dispatch_functionalize
from torch.fx import traceback
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from jogak.ingress.decompositions import decomposition_table
from jogak.ingress.layer_calls import Attributes, Call, Flat, NotRepeatable, Recorder, Replay
from jogak.ingress.layer_graphs import COTANGENT, LayerCalls, LayerGraph
from jogak.ingress.places import ModuleScopes, PlaceMode
from jogak.ingress.stateless import swapped

_TRIED = 3
"""Graphs of layers of one kind that are made while none of them is used again, before the kind is left alone."""

_PLAIN = (bool, int, float, complex, str, torch.Size, torch.dtype, torch.device, type(None), type(...))

_torch: Any = torch
"""PyTorch with the functions that its stubs leave out."""

Function = Callable[..., Any]


@dataclass(frozen=True)
class _Given:
    """What a layer is called with.

    Attributes:
        tensors: parameters, buffers and tensors in the arguments, each object once.
        names: paths of parameters and buffers within the layer.
        places: the number in `tensors` of every name, then of every leaf of the arguments; a leaf itself if it is none.
        structure: how the arguments are nested.
        kind: what calls that could be copies have in common.
    """

    tensors: Sequence[Tensor]
    names: Sequence[str]
    places: Sequence[Any]
    structure: pytree.TreeSpec
    kind: Hashable

    def state(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The parameters and buffers by name, out of tensors like these."""
        return {name: tensors[place.number] for name, place in zip(self.names, self.places, strict=False)}

    def arguments(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`(args, kwargs)` of a call, out of tensors like these."""
        args, kwargs = pytree.tree_unflatten(_chosen(self.places[len(self.names) :], tensors), self.structure)
        return args, kwargs


@dataclass(frozen=True)
class _Input:
    """The place of a tensor among the inputs."""

    number: int


@dataclass(frozen=True)
class _Output:
    """The place of a tensor among the results."""

    number: int


@dataclass
class _Traced:
    """A layer that was traced.

    Attributes:
        graph: what it does; behind its own results are the new values of inputs that it changes in place.
        tokens: the inputs that its code saw.
        calls: what it called.
        returned: what it returned.
        places: where the leaves of what it returns are: an input, a result, or the leaf itself.
        changed: numbers of the inputs that it changes.
        uses: how many other layers it stood for.
    """

    graph: LayerGraph
    tokens: Sequence[Tensor]
    calls: Sequence[Call]
    returned: Flat
    places: Sequence[Any]
    changed: Sequence[int]
    uses: int = 0


def _chosen(places: Sequence[Any], inputs: Sequence[Tensor], results: Sequence[Tensor] = ()) -> list[Any]:
    return [
        inputs[place.number]
        if isinstance(place, _Input)
        else results[place.number]
        if isinstance(place, _Output)
        else place
        for place in places
    ]


def equal_modules(root: nn.Module) -> list[nn.Module]:
    """The modules below `root` that have submodules, and of which another one is equal in class, sizes and types."""
    numbers: dict[Hashable, int] = {}
    kinds: dict[nn.Module, int] = {}

    def kind(module: nn.Module) -> int:
        if module not in kinds:
            tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            sizes = tuple((name, tuple(each.shape), each.dtype) for name, each in tensors)
            inner = tuple((name, kind(each)) for name, each in module.named_children())
            kinds[module] = numbers.setdefault((type(module), sizes, inner), len(numbers))
        return kinds[module]

    kind(root)
    counts = Counter(kinds.values())
    return [each for each in kinds if counts[kinds[each]] > 1 and next(each.children(), None) is not None]


class RepeatedLayers:
    """The layers of one model, while it is traced.

    Args:
        root: the model.
        mode: the fake tensors of the trace.
        calls: takes the copies.
        scopes: follows the running module.
        boundary: code of the function that calls the model.
    """

    def __init__(
        self,
        root: nn.Module,
        mode: FakeTensorMode,
        calls: LayerCalls,
        scopes: ModuleScopes,
        boundary: CodeType,
    ) -> None:
        self._root = root
        self._mode = mode
        self._calls = calls
        self._scopes = scopes
        self._boundary = boundary
        self._traced: dict[Hashable, list[_Traced]] = {}
        self._refused: set[Hashable] = set()
        self.inside = False
        """Whether a layer is being traced or compared by itself."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Trace equal layers once inside the block."""
        with ExitStack() as stack:
            for module in equal_modules(self._root):
                stack.enter_context(_replaced(module, self._watched(module, module.forward)))
            yield

    def _watched(self, layer: nn.Module, forward: Function) -> Function:
        @functools.wraps(forward)
        def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                if self.inside or _followed():
                    raise NotRepeatable("it is part of something else")
                given = _given(layer, args, kwargs)
                traced = self._find(layer, forward, given)
                if traced.changed and len({*map(_storage, given.tensors)}) < len(given.tensors):
                    raise NotRepeatable("what it changes in place may be seen through another input")
            except NotRepeatable:
                return forward(*args, **kwargs)
            results = self._calls.call(traced.graph, self._scopes.current, given.tensors)
            for number, value in zip(traced.changed, results[len(results) - len(traced.changed) :], strict=True):
                given.tensors[number].copy_(value)
            return pytree.tree_unflatten(_chosen(traced.places, given.tensors, results), traced.returned.structure)

        return watched

    def _find(self, layer: nn.Module, forward: Function, given: _Given) -> _Traced:
        """What a call does: what an earlier one did, or what is traced now."""
        if given.kind in self._refused:
            raise NotRepeatable("another layer of its kind is not")
        known = self._traced.setdefault(given.kind, [])
        for each in reversed(known):
            if self._repeats(each, layer, forward, given):
                each.uses += 1
                return each
        if len(known) >= _TRIED and not any(each.uses for each in known):
            self._refused.add(given.kind)
            raise NotRepeatable("none of its kind was repeated")
        try:
            known.append(self._trace(layer, forward, given))
        except (Exception, NotRepeatable) as error:  # the layer's own errors are told, at their line, in the model
            self._refused.add(given.kind)
            raise NotRepeatable(str(error)) from error
        return known[-1]

    @contextmanager
    def _alone(self, layer: nn.Module) -> Iterator[None]:
        """Nothing inside reaches the model's trace, or stays in the layer."""
        before = Attributes(layer)
        self.inside = True
        try:
            with _disable_current_modes(), self._mode, self._scopes.kept():
                yield
            if before.changed():
                raise NotRepeatable("it keeps something")
        finally:
            before.restore()
            self.inside = False

    def _repeats(self, traced: _Traced, layer: nn.Module, forward: Function, given: _Given) -> bool:
        """Whether a layer does with its inputs what the traced one did with its own."""
        try:
            # The mode is only looked for, by methods of its tensors; no op is reached.
            with self._alone(layer), FunctionalTensorMode(), Replay(traced.calls) as replay:
                output = _run(layer, forward, given, traced.tokens)
                replay.finish()
        except (NotRepeatable, Exception):
            return False
        return Flat.of(output) == traced.returned

    def _trace(self, layer: nn.Module, forward: Function, given: _Given) -> _Traced:
        seen: list[Any] = []

        def run(*inputs: Tensor) -> list[Tensor]:
            for tensor, like in zip(inputs, given.tensors, strict=True):
                tensor.requires_grad_(like.requires_grad and torch.is_grad_enabled())
            with PlaceMode(self._scopes, self._boundary):
                with Recorder(inputs) as recorder:
                    output = _run(layer, forward, given, inputs)
                outcome = _outcome(inputs, output)
                gradients = _gradients(inputs, outcome)
            seen.extend((inputs, recorder.calls, outcome, sorted(gradients)))
            return [*outcome.results, *outcome.changed.values(), *gradients.values()]

        with self._alone(layer), traceback.preserve_node_meta():
            examples = [
                torch.empty_strided(each.shape, each.stride(), dtype=each.dtype, device=each.device)
                for each in given.tensors
            ]
            functional = dispatch_functionalize(run, FunctionalTensorMode())
            graph = make_fx(functional, decomposition_table=decomposition_table(), tracing_mode="real")(*examples)
        tokens, calls, outcome, needs = seen
        made = LayerGraph(
            graph,
            len(outcome.results) + len(outcome.changed),
            outcome.differentiable,
            tuple(needs),
            self._scopes.current,
        )
        return _Traced(made, tokens, calls, outcome.returned, outcome.places, list(outcome.changed))


def _followed() -> bool:
    """Whether more than values is seen of what runs: by a checkpoint, by hooks, or by a gradient that is computed."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks is not None or torch._C._current_autograd_node() is not None


@contextmanager
def _replaced(module: nn.Module, forward: Function) -> Iterator[None]:
    """Let a module run another function inside the block."""
    own = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        if own is None:
            del vars(module)["forward"]
        else:
            vars(module)["forward"] = own


def _given(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Given:
    state = [*layer.named_parameters(remove_duplicate=False), *layer.named_buffers(remove_duplicate=False)]
    leaves, structure = pytree.tree_flatten((args, kwargs))
    tensors: list[Tensor] = []
    numbers: dict[int, _Input] = {}
    places: list[Any] = []
    for leaf in [*(value for _, value in state), *leaves]:
        if isinstance(leaf, Tensor):
            if id(leaf) not in numbers:
                numbers[id(leaf)] = _Input(len(tensors))
                tensors.append(leaf)
            places.append(numbers[id(leaf)])
        elif isinstance(leaf, _PLAIN):
            places.append(leaf)
        else:
            raise NotRepeatable(f"it is given a {type(leaf).__name__}, which it may change")
    names = [name for name, _ in state]
    metas = tuple((tuple(t.shape), t.stride(), t.dtype, t.requires_grad) for t in tensors)
    typed = tuple((type(each), each) for each in places)
    kind = (type(layer), tuple(names), typed, metas, structure, torch.is_grad_enabled())
    return _Given(tensors, names, places, structure, kind)


def _run(layer: nn.Module, forward: Function, given: _Given, tensors: Sequence[Tensor]) -> Any:
    """Run a layer's code on other tensors than it was given."""
    state = given.state(tensors)
    held = dict(state)
    args, kwargs = given.arguments(tensors)
    before = Flat.of((args, kwargs))
    with swapped(layer, held):
        output = forward(*args, **kwargs)
    if any(held[name] is not value for name, value in state.items()) or Flat.of((args, kwargs)) != before:
        raise NotRepeatable("it puts something in the place of what it was given")
    return output


@dataclass(frozen=True)
class _Outcome:
    """What one run of a layer gave.

    Attributes:
        returned: what its code returned.
        places: where the leaves of it are.
        results: the tensors in it that are no inputs.
        differentiable: numbers of the results that have a gradient.
        changed: the new values of inputs that were changed in place, by their numbers.
    """

    returned: Flat
    places: Sequence[Any]
    results: Sequence[Tensor]
    differentiable: tuple[int, ...]
    changed: dict[int, Tensor]


def _outcome(inputs: Sequence[Tensor], output: Any) -> _Outcome:
    returned = Flat.of(output)
    own = {id(each): _Input(number) for number, each in enumerate(inputs)}
    places: list[Any] = []
    results: list[Tensor] = []
    for leaf in returned.leaves:
        if isinstance(leaf, Tensor) and id(leaf) not in own:
            places.append(_Output(len(results)))
            results.append(leaf)
        elif isinstance(leaf, (Tensor, *_PLAIN)):
            places.append(own.get(id(leaf), leaf))
        else:
            raise NotRepeatable(f"it returns a {type(leaf).__name__}")
    storages = Counter(_storage(each) for each in [*inputs, *results])
    if len(storages) < len(inputs) + len(results):
        raise NotRepeatable("it returns a view of something")
    differentiable = tuple(number for number, each in enumerate(results) if each.requires_grad)
    changed = {number: each for number, each in enumerate(inputs) if _is_changed(each)}
    return _Outcome(returned, places, results, differentiable, changed)


def _storage(tensor: Any) -> int:
    _torch._sync(tensor)
    return int(_torch._from_functional_tensor(tensor.elem).untyped_storage()._cdata)


def _is_changed(tensor: Any) -> bool:
    if _torch._functionalize_has_metadata_mutation(tensor.elem) or (
        _torch._functionalize_has_data_mutation(tensor.elem) and tensor.requires_grad
    ):
        raise NotRepeatable("it changes an input in a way that autograd follows")
    return bool(_torch._functionalize_has_data_mutation(tensor.elem))


def _gradients(inputs: Sequence[Tensor], outcome: _Outcome) -> dict[int, Tensor]:
    """The gradients of the inputs that have one, by their numbers, for gradients of the results."""
    results = [outcome.results[i] for i in outcome.differentiable]
    if not results:
        return {}
    needs = [number for number, each in enumerate(inputs) if each.requires_grad]
    # Autograd runs behind the model, where mixed precision is off.
    with torch.autocast("cpu", enabled=False):
        cotangents = [COTANGENT(each.detach()) for each in results]
        values = torch.autograd.grad(results, [inputs[i] for i in needs], cotangents, allow_unused=True)
    return {number: value for number, value in zip(needs, values, strict=True) if value is not None}
