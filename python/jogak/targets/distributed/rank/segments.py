"""The program of a device cut into segments between its collectives, for a compiler to work on.

`main` of `device.py` is straight-line code. What lies between two places where ranks communicate or wait becomes a
function of its own; equal segments, such as those of repeated layers, become one. A segment also ends where something
is computed again, so that no compiler sees a value and its recomputation together and merges them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_OUTSIDE = frozenset(["mesh", "constants", "arguments"])
"""Names whose use keeps a statement out of segments."""
_LOOP = "run_loop"
"""What functions call that go through the points of a loop one by one."""
_NO_CODE = (lambda: None).__code__


@dataclass
class Segment:
    """Statements without communication.

    Attributes:
        body: the statements.
        inputs: the names that it reads, in the order in which it does.
        outputs: the names that are read behind it.
        ends: the inputs that nothing reads behind it.
    """

    body: list[ast.stmt]
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)


Part = Segment | ast.stmt


def cut(main: ast.FunctionDef, known: Iterable[str], apart: Iterable[str] = ()) -> list[Part]:
    """The statements of a program, with those that do not communicate gathered in segments.

    Args:
        main: the function.
        known: names of the module, which are no values.
        apart: names of functions that no segment may call.
    """
    alone = _OUTSIDE | set(apart)
    parts: list[Part] = []
    last: Segment | None = None
    for statement in main.body:
        if _is_del(statement):
            continue  # what ends where is found anew
        if _is_mark(statement):
            last = None
        elif _is_outside(statement, alone):
            parts.append(statement)
            last = None
        elif last is None:
            last = Segment([statement])
            parts.append(last)
        else:
            last.body.append(statement)
    return _with_interfaces(parts, set(known) | _OUTSIDE)


def _is_mark(statement: ast.stmt) -> bool:
    """Whether a statement is only a text: the place where something is computed again."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_del(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Delete)


def _is_outside(statement: ast.stmt, alone: frozenset[str]) -> bool:
    """Whether a statement communicates, waits, returns, or makes a tensor of numbers, which no trace can hold."""
    if isinstance(statement, ast.Return):
        return True
    nodes = list(ast.walk(statement))
    calls = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return not calls.isdisjoint(("wait", "tensor")) or any(isinstance(n, ast.Name) and n.id in alone for n in nodes)


def _names(statements: Iterable[ast.stmt], context: type[ast.expr_context]) -> list[str]:
    """The names that statements read or write, each once, in order."""
    nodes = [node for statement in statements for node in _in_order(statement) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(node.id for node in nodes if isinstance(node.ctx, context)))


def _in_order(statement: ast.stmt) -> Iterable[ast.AST]:
    """The nodes of a statement in the order of evaluation: what is assigned comes before the targets."""
    if isinstance(statement, ast.Assign):
        yield from ast.walk(statement.value)
        for target in statement.targets:
            yield from ast.walk(target)
    else:
        yield from ast.walk(statement)


def _with_interfaces(parts: Sequence[Part], known: set[str]) -> list[Part]:
    """Fill in what each segment takes and gives, and end every value behind its last use."""
    later: set[str] = set()
    found: list[Part] = []
    for part in reversed(parts):
        body = part.body if isinstance(part, Segment) else [part]
        written = _names(body, ast.Store)
        read = _read_first(body, known)
        if isinstance(part, Segment):
            part.inputs, part.outputs = read, [name for name in written if name in later]
            part.ends = [name for name in read if name not in later and name not in written]
        elif not isinstance(part, ast.Return):
            gone = [name for name in dict.fromkeys([*read, *written]) if name not in later]
            found += ast.parse(f"del {', '.join(gone)}").body if gone else []
        found.append(part)
        later.difference_update(written)
        later.update(read)
    return found[::-1]


def _read_first(body: Iterable[ast.stmt], known: set[str]) -> list[str]:
    """The values that statements read and do not write before."""
    found: dict[str, None] = {}
    written = set(known)
    for statement in body:
        found |= dict.fromkeys(name for name in _names([statement], ast.Load) if name not in written)
        written.update(_names([statement], ast.Store))
    return list(found)


class _Rename(ast.NodeTransformer):
    """Values by the order in which they appear, so that equal segments have equal texts."""

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._found: dict[str, str] = {}

    def name(self, name: str) -> str:
        """The new name of a value."""
        return self._found.setdefault(name, f"v{len(self._found)}")

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return node if node.id in self._known else ast.Name(self.name(node.id), node.ctx)


def source_of(segment: Segment, known: Iterable[str]) -> str:
    """A segment as the text of a function `segment`, the same for equal segments."""
    rename = _Rename(set(known))
    inputs = [rename.name(name) for name in segment.inputs]
    lines = [ast.unparse(rename.visit(ast.parse(ast.unparse(statement)))) for statement in segment.body]
    outputs = [rename.name(name) for name in segment.outputs]
    body = "\n".join(f"    {line}" for line in [*lines, f"return ({''.join(f'{name}, ' for name in outputs)})"])
    return f"def segment({', '.join(inputs)}):\n{body}\n"


def rebuild(
    source: str, scope: dict[str, Any], make: Callable[[str], Callable[[list[Any]], Sequence[Any]]]
) -> Callable[..., Any]:
    """`main` of a program with its segments replaced.

    Args:
        source: text of the program.
        scope: the names of its module.
        make: from the text of a segment to what runs it; that takes its inputs in a list, which it empties. It is
            called once for each distinct text.
    """
    tree = ast.parse(source)
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    made: dict[str, Callable[[list[Any]], Sequence[Any]]] = {}
    body: list[ast.stmt] = []
    looping = [name for name, value in scope.items() if _LOOP in getattr(value, "__code__", _NO_CODE).co_names]
    for part in cut(main, scope, looping):
        if isinstance(part, Segment):
            text = source_of(part, scope)
            if text not in made:
                made[text] = make(text)
            body += _call(part, list(made).index(text))
        else:
            body.append(part)
    main.body = body
    space = {**scope, "segments": list(made.values())}
    exec(compile(ast.fix_missing_locations(ast.Module([main], [])), "<segments of main>", "exec"), space)
    rebuilt: Callable[..., Any] = space["main"]
    return rebuilt


def _call(segment: Segment, number: int) -> list[ast.stmt]:
    """The call of a segment; what ends with it is held by nothing but its list of inputs."""
    lines = [f"held = [{', '.join(segment.inputs)}]"]
    if segment.ends:
        lines.append(f"del {', '.join(segment.ends)}")
    targets = "".join(f"{name}, " for name in segment.outputs)
    lines.append(f"({targets}) = segments[{number}](held)" if targets else f"segments[{number}](held)")
    return ast.parse("\n".join(lines)).body
