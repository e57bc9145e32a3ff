"""The torch.fx graph of a kernel as the source of a Python function."""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

from jogak.errors import JogakError
from jogak.runtime.kernels.sequential import Loop
from jogak.runtime.types import Precision, TensorType, dtype_of
from jogak.targets.torch import choices, idioms, products, reuse

_VIEWS = frozenset(
    {"expand", "reshape", "narrow", "permute", "squeeze", "unsqueeze", "getitem", "to", "full", "arange"}
)
"""Calls that say little about what a kernel does."""
_FRESH = frozenset(
    [
        *("add", "sub", "mul", "truediv", "neg", "exp", "log", "sqrt", "rsqrt", "tanh", "erf", "sigmoid", "pow"),
        *("sum", "amax", "amin", "maximum", "minimum", "where", "index_select", "eq", "ne", "lt", "le", "gt", "ge"),
        *(
            "bmm",
            "matmul",
            "conv1d",
            "conv2d",
            "conv3d",
            "conv_transpose1d",
            "conv_transpose2d",
            "conv_transpose3d",
            "mm",
            "fold",
            "unfold",
            "relu",
            "fmax",
            "threshold_backward.default",
            "slice_scatter",
            "scatter_add",
            "gather",
            "lerp",
            "index_put",
            "cat",
            "stack",
        ),
    ]
)
"""Functions whose result never shares memory with an argument."""
_NO_CHANGE = frozenset({"expand", "reshape", "to"})
_WHOLE = frozenset({"reshape", "permute", "contiguous"})
"""Views, or copies, of all elements."""
_WIDTH = 100
"""Longest expression that several calls are written as."""
_INLINE = 80
"""Longest expression that needs no function of its own."""
_CLEARED = re.compile(r";\s+(?:\w+ = )+None")


@dataclass(frozen=True)
class Source:
    """A kernel as text.

    Attributes:
        inputs: names of its parameters.
        lines: its statements; the last one returns.
        calls: names of what it calls, views aside, for naming it.
        aliases: numbers of the parameters whose memory a result may share.
        owned: whether its result is memory of its own, no view of anything.
        helpers: functions that it needs: a statement calls one as `helper_NAME`.
    """

    inputs: tuple[str, ...]
    lines: tuple[str, ...]
    calls: tuple[str, ...]
    aliases: frozenset[int]
    owned: bool = False
    helpers: Mapping[str, Source] = field(default_factory=dict)

    @property
    def expression(self) -> str | None:
        """The returned expression, where there is nothing else."""
        return self.lines[0].removeprefix("return ") if len(self.lines) == 1 else None

    @property
    def inline(self) -> bool:
        """Whether it is short enough to be written where it is used."""
        return self.expression is not None and len(self.expression) <= _INLINE and len(set(self.calls)) <= 1


def source_of(
    kernel: fx.GraphModule,
    types: Sequence[TensorType],
    precision: Precision | None,
    donated: frozenset[int] = frozenset(),
) -> Source:
    """The source of a kernel.

    Args:
        types: of its inputs.
        precision: that it was built with.
        donated: numbers of the inputs that it may overwrite.

    Raises:
        JogakError: it calls something that is not part of torch.
    """
    return _source(kernel, prepared(kernel, tuple(types), precision, donated)[0])


@cache
def prepared(
    kernel: fx.GraphModule,
    types: tuple[TensorType, ...],
    precision: Precision | None,
    donated: frozenset[int] = frozenset(),
) -> tuple[fx.Graph, bool]:
    """The graph of a kernel as it is written, and whether its shapes are known, so that memory is reused.

    The pass that counts scratch memory asks first, whoever writes the program again: nobody changes the graph.

    Args:
        types: of its inputs.
        precision: that it was built with.
        donated: numbers of the inputs that it may overwrite.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(kernel.graph, {}))
    return graph, _simplify(kernel, graph, types, precision, donated)


def _source(kernel: fx.GraphModule, graph: fx.Graph) -> Source:
    code = graph.python_code(root_module="self")
    for name, value in code.globals.items():
        _check_global(name, value)
    body = code.src[code.src.index("def forward") :].splitlines()[1:]
    statements = [_CLEARED.sub("", line).strip() for line in body if line.strip()]
    inputs = tuple(str(node.target) for node in graph.nodes if node.op == "placeholder")
    helpers: dict[str, Source] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            statements = _use_loop(statements, kernel, str(node.target), helpers)
    lines = [line.replace("torch.functional.einsum", "torch.einsum") for line in statements]
    return Source(inputs, tuple(_with_ends(_fold(lines))), _calls(graph), _aliases(graph), _owns(graph), helpers)


def _check_global(name: str, value: Any) -> None:
    known = value is torch or value is torch.device or name in ("inf", "nan", "NoneType") or name in dir(builtins)
    if not known and not (isinstance(value, ModuleType) and value.__name__.split(".")[0] == "torch"):
        raise JogakError(f"a kernel uses {name!r}, which is not part of torch", hint="run it with --target sim")


def _use_loop(statements: Sequence[str], kernel: fx.GraphModule, target: str, helpers: dict[str, Source]) -> list[str]:
    """Replace the call of a sequential loop by one of the function `run_loop`."""
    loop = kernel.get_submodule(target)
    if not isinstance(loop, Loop):
        raise JogakError(f"a kernel calls the module {type(loop).__name__}", hint="run it with --target sim")
    graph = fx.Graph()
    graph.output(graph.graph_copy(loop.body.graph, {}))
    helpers[target] = _source(loop.body, graph)
    return [line.replace(f"self.{target}(", f"run_loop(helper_{target}, {loop.loops!r}, ") for line in statements]


def _simplify(
    kernel: fx.GraphModule,
    graph: fx.Graph,
    types: Sequence[TensorType],
    precision: Precision | None,
    donated: frozenset[int],
) -> bool:
    """Drop views and casts that change nothing, and reuse memory; False where shapes depend on data."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = [torch.empty(each.shape, dtype=dtype_of(each.element, precision)) for each in types]
        try:
            _Shapes(kernel, graph=graph).run(*inputs)
            if products.replace(graph):
                _Shapes(kernel, graph=graph).run(*inputs)
            _drop_unchanged(graph)
            if choices.replace(graph):
                _Shapes(kernel, graph=graph).run(*inputs)
                _drop_unchanged(graph)
        except RuntimeError:  # a shape or an index that depends on data
            return False
    idioms.replace(graph)
    inputs_given = [node for number, node in enumerate(graph.find_nodes(op="placeholder")) if number in donated]
    reuse.overwrite(graph, lambda node: node in inputs_given or _is_fresh(node))
    return True


def _drop_unchanged(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.op != "call_method" or node.target not in _NO_CHANGE or not isinstance(node.args[0], fx.Node):
            continue
        if node.meta["is"] == node.args[0].meta["is"] and None not in node.meta["is"]:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


class _Shapes(fx.Interpreter):
    """Notes the shape and dtype of every node."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        is_tensor = isinstance(result, torch.Tensor)
        n.meta["is"] = (tuple(result.shape), result.dtype) if is_tensor else (None, None)
        return result


def _name(node: fx.Node) -> str:
    target = node.target
    return str(target if isinstance(target, str) else getattr(target, "__name__", target)).strip("_")


def _calls(graph: fx.Graph) -> tuple[str, ...]:
    called = [_name(node) for node in graph.nodes if node.op.startswith("call")]
    telling = [name for name in called if name not in _VIEWS]
    return tuple(name.split(".")[0] for name in telling or called)


def _aliases(graph: fx.Graph) -> frozenset[int]:
    """The inputs whose memory a result may share."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    todo = list(next(node for node in graph.nodes if node.op == "output").all_input_nodes)
    seen: set[fx.Node] = set()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += [] if _is_fresh(node) else node.all_input_nodes
    return frozenset(number for number, node in enumerate(inputs) if node in seen)


def _owns(graph: fx.Graph) -> bool:
    """Whether the only result is new memory, seen as a whole, in any order."""
    result = graph.output_node().args[0]
    while isinstance(result, fx.Node) and result.op == "call_method" and result.target in _WHOLE:
        result = result.args[0]
    return isinstance(result, fx.Node) and _is_fresh(result)


def _is_fresh(node: fx.Node) -> bool:
    """Whether a call surely puts its result into new memory; an einsum of one tensor is a view."""
    if node.op == "call_method" and str(node.target).endswith("_"):
        return True  # it overwrites an intermediate result
    if node.op != "call_function":
        return False
    return _name(node) in _FRESH or (_name(node) == "einsum" and len(node.all_input_nodes) > 1)


class _Substitute(ast.NodeTransformer):
    def __init__(self, name: str, value: ast.expr) -> None:
        self._name = name
        self._value = value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._value if node.id == self._name else node


def _fold(lines: Sequence[str]) -> list[str]:
    """Write a value that only the next statement reads into that statement."""
    statements = ast.parse("\n".join(["def kernel():", *(f"    {line}" for line in lines)])).body
    function = statements[0]
    body = function.body if isinstance(function, ast.FunctionDef) else []
    at = 0
    while at + 1 < len(body):
        folded = _folded(body[at], body[at + 1], body[at + 2 :])
        if folded is None:
            at += 1
        else:
            body[at : at + 2] = [folded]
            at = max(at - 1, 0)
    return [ast.unparse(statement) for statement in body]


def _folded(first: ast.stmt, second: ast.stmt, rest: Sequence[ast.stmt]) -> ast.stmt | None:
    """Two statements as one; None where something else reads what the first makes, or the line would be long."""
    if not isinstance(first, ast.Assign) or not isinstance(first.targets[0], ast.Name):
        return None
    name = first.targets[0].id
    if _reads([second], name) != 1 or _reads(rest, name):
        return None
    merged: ast.stmt = _Substitute(name, first.value).visit(copy.deepcopy(second))
    return merged if len(ast.unparse(merged)) <= _WIDTH else None


def _reads(statements: Sequence[ast.stmt], name: str) -> int:
    nodes = (node for statement in statements for node in ast.walk(statement))
    return sum(isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load) for node in nodes)


def _with_ends(lines: Sequence[str]) -> Iterator[str]:
    """Statements, with each intermediate result let go where nothing reads it any more: it is memory."""
    statements = [ast.parse(line).body[0] if not line.startswith("return") else None for line in lines]
    held: list[str] = []
    for number, (line, statement) in enumerate(zip(lines, statements, strict=True)):
        yield line
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            held.append(statement.targets[0].id)
        rest = " ".join(lines[number + 1 :])
        ended = [name for name in held if not re.search(rf"\b{name}\b", rest)]
        if ended and number + 1 < len(lines):
            yield f"del {', '.join(ended)}"
        held = [name for name in held if name not in ended]
