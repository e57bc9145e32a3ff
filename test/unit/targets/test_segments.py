"""A program cut into segments between its collectives: what they take, give and end; the whole stays the same."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

import torch

from jogak.targets.distributed.rank.segments import Segment, cut, rebuild, source_of

PROGRAM = '''
def main(arguments, constants, mesh):
    """Run it."""
    (
        a,
        w,
        u,
    ) = arguments
    arguments.clear()
    b = double(a)
    c = b * w
    del b
    s = mesh.start(c)
    d = double(c)
    e = d * u
    del d
    s = s.wait()
    f = e + s
    del e, s
    "computed again"
    g = double(a)
    h = f + g
    del a, f, g
    return [h, c]
'''


def double(x: Any) -> Any:
    return x + x


class Line:
    """A collective that gives back what it gets."""

    def start(self, value: Any) -> Line:
        self.value = value
        return self

    def wait(self) -> Any:
        return self.value


SCOPE = {"double": double}


def segments() -> list[Segment]:
    main = next(node for node in ast.parse(PROGRAM).body if isinstance(node, ast.FunctionDef))
    return [part for part in cut(main, SCOPE) if isinstance(part, Segment)]


def test_segments_take_what_they_read_and_give_what_is_read_later() -> None:
    assert [each.inputs for each in segments()] == [["a", "w"], ["c", "u"], ["e", "s"], ["a", "f"]]
    assert [each.outputs for each in segments()] == [["c"], ["e"], ["f"], ["h"]]
    assert [each.ends for each in segments()] == [["w"], ["u"], ["e", "s"], ["a", "f"]]


def test_a_value_and_its_recomputation_are_never_in_one_segment() -> None:
    first, *_, last = (ast.unparse(each.body) for each in segments())  # type: ignore[arg-type]
    assert "double(a)" in first
    assert "double(a)" in last


def test_equal_segments_have_equal_texts() -> None:
    first, second, *_ = segments()
    assert source_of(first, SCOPE) == source_of(second, SCOPE)


def test_the_rebuilt_program_computes_the_same_and_holds_nothing_twice() -> None:
    made: list[str] = []
    held: list[int] = []

    def make(text: str) -> Callable[[list[Any]], Sequence[Any]]:
        made.append(text)
        space: dict[str, Any] = dict(SCOPE)
        exec(text, space)

        def run(values: list[Any]) -> Sequence[Any]:
            given = list(values)
            values.clear()
            held.append(len(given))
            return space["segment"](*given)  # type: ignore[no-any-return]

        return run

    given = [torch.randn(3) for _ in range(3)]
    plain: dict[str, Any] = dict(SCOPE)
    exec(PROGRAM, plain)
    expected = plain["main"](list(given), {}, Line())
    found = rebuild(PROGRAM, SCOPE, make)(list(given), {}, Line())
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert held == [2, 2, 2, 2]
    assert len(made) == 3
