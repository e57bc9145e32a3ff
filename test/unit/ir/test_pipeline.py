"""The text of pipelines and their trees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jogak.errors import JogakError
from jogak.ir.pipeline import Nest, PassCall, parse_pipeline

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,4}){0,2}", fullmatch=True)
VALUES = st.sampled_from(["1", "2x4", "true", "a,b", "{func.func(cse)}", '"two words"', "[data, _]", "f(x{y=1})", ""])
OPTIONS = st.lists(st.tuples(NAMES, st.none() | VALUES), max_size=3).map(tuple)
CALLS = st.builds(PassCall, NAMES, OPTIONS)
ELEMENTS = st.recursive(
    CALLS, lambda inner: st.builds(Nest, NAMES, st.lists(inner, max_size=3).map(tuple)), max_leaves=8
)


@given(st.lists(ELEMENTS, max_size=4).map(tuple))
def test_round_trip(elements):
    tree = Nest("builtin.module", elements)
    assert parse_pipeline(str(tree)) == tree


def test_nesting_and_options():
    tree = parse_pipeline(" builtin.module( canonicalize , func.func(cse),\n jogak-partition{mesh=2x4  fold} ) ")
    assert tree == Nest(
        "builtin.module",
        (
            PassCall("canonicalize"),
            Nest("func.func", (PassCall("cse"),)),
            PassCall("jogak-partition", (("mesh", "2x4"), ("fold", None))),
        ),
    )
    assert [(anchors[-1], call.name) for anchors, call in tree.leaves()] == [
        ("builtin.module", "canonicalize"),
        ("func.func", "cse"),
        ("builtin.module", "jogak-partition"),
    ]


def test_a_list_is_put_inside_a_module():
    assert str(parse_pipeline("cse,func.func(cse)")) == "builtin.module(cse,func.func(cse))"
    assert str(parse_pipeline("")) == "builtin.module()"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("cse,,cse", 5, "expected the name of a pass"),
        ("cse cse", 5, "expected ','"),
        ("func.func(cse", 14, "expected ',' or ')'"),
        ("func.func(cse))", 15, "expected ',' or the end"),
        ("cse{a=1", 4, "'{' is never closed"),
        ('cse{a="b}', 4, "'{' is never closed"),
        ("cse,", 5, "expected the name of a pass"),
    ],
)
def test_malformed(text, column, message):
    with pytest.raises(JogakError, match=f"column {column} ") as caught:
        parse_pipeline(text)
    assert message in str(caught.value)
