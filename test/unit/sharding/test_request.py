"""Requests as text, and what they mean for a value of some rank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.sharding.request import Barrier, Request
from jogak.sharding.sharding import DimSpec


def test_every_part():
    read = Request.parse("[data, _, model ?] replicated(expert, pipe) group(residual) barrier(forward) p2")
    assert read == Request(
        (DimSpec(("data",)), DimSpec(), DimSpec(("model",), True)),
        replicated=("expert", "pipe"),
        group="residual",
        barrier=Barrier.FORWARD,
        priority=2,
    )
    assert Request.parse("any(data model)").somewhere == ("data", "model")
    assert Request.parse("barrier") == Request(barrier=Barrier.CLOSED)
    assert Request.parse("p1 group(g)") == Request(group="g", priority=1)
    assert Request.parse("[]").dims == ()


def test_an_ellipsis_fits_every_rank_from_its_own():
    read = Request.parse("[data, ...]")
    assert [read.fits(rank) for rank in (0, 1, 2, 5)] == [False, True, True, True]
    assert read.spread(3) == (DimSpec(("data",)), DimSpec(open=True), DimSpec(open=True))
    assert Request.parse("[...]").spread(2) == (DimSpec(open=True),) * 2


NAMES = st.sampled_from(["data", "model", "expert"])


@given(
    dims=st.none() | st.lists(st.builds(DimSpec, st.tuples() | st.tuples(NAMES), st.booleans()), max_size=3).map(tuple),
    more=st.booleans(),
    replicated=st.lists(st.sampled_from(["a", "b"]), unique=True).map(tuple),
    group=st.sampled_from(["", "residual"]),
    barrier=st.none() | st.sampled_from(list(Barrier)),
    priority=st.integers(0, 3),
)
def test_text_is_read_back(dims, more, replicated, group, barrier, priority):
    request = Request(dims, dims is not None and more, (), replicated, group, barrier, priority)
    if dims is not None or replicated or group or barrier or priority:
        assert Request.parse(str(request)) == request


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read"),
        ("model", "cannot read 'model' as a sharding"),
        ("[data] grup(x)", "unknown request 'grup'"),
        ("[data] group", "'group' names nothing"),
        ("[data] group(a) group(b)", "stands twice"),
        ("[data] replicated(model", "a parenthesis is open"),
        ("[data] barrier(sideways)", "unknown direction of a barrier 'sideways'"),
        ("[data] replicated(data)", "splits the value by 'data' and forbids it"),
        ("[data] any(model)", "names dimensions and any"),
        ("[data] partial(model: sum)", "asks for a partial result"),
        ("[data", "cannot read"),
    ],
)
def test_errors(text, message):
    with pytest.raises(JogakError, match=message) as caught:
        Request.parse(text)
    assert caught.value.hint


def test_axes_are_checked():
    mesh = Mesh(("data",), (2,))
    for text in ("[modle]", "any(modle)", "replicated(modle)"):
        with pytest.raises(JogakError, match="unknown mesh axis 'modle'"):
            Request.parse(text).check(mesh)
