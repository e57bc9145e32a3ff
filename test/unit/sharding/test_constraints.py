"""What the user asks for: text, files, matching, and how it lands on the program's dimensions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jogak.errors import JogakError
from jogak.sharding.constraints import Constraint, logical_groups, read_constraints, resolve
from jogak.sharding.mesh import Mesh
from jogak.sharding.selection import Argument

MESH = Mesh(("data", "model"), (2, 4))
ARGUMENTS = [
    Argument("layers.0.up.weight", "parameter", (64, 16), (64, 16)),
    Argument("layers.1.up.weight", "parameter", (64, 16), (64, 16)),
    Argument("layers.0.qkv.weight", "parameter", (3, 16, 16), (48, 16)),
    Argument("tokens", "input", (8, 6), (8, 6)),
]


def resolved(*texts: str) -> dict[str, str]:
    """Argument name to the constraint that it got."""
    seeds = resolve([Constraint.parse(text) for text in texts], ARGUMENTS, MESH)
    return {ARGUMENTS[seed.value].name: ", ".join(map(str, seed.dims)) for seed in seeds}


def test_patterns_and_roles():
    assert resolved("layers.*.up.weight=[model, _]", "role:input=[data, ?]") == {
        "layers.0.up.weight": "model, _",
        "layers.1.up.weight": "model, _",
        "tokens": "data, ?",
    }


def test_a_later_constraint_replaces_an_earlier_one():
    found = resolved("layers.*.up.weight=[model, _]", "layers.1.up.weight=[_, data]")
    assert found == {"layers.0.up.weight": "model, _", "layers.1.up.weight": "_, data"}


def test_an_exposed_dimension_gives_its_axes_to_the_innermost_part():
    assert resolved("*.qkv.weight=[model, _]") == {"layers.0.qkv.weight": "_, model, _"}
    assert resolved("*.qkv.weight=[model ?, _]") == {"layers.0.qkv.weight": "?, model ?, _"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers.*", "cannot read 'layers.*' as a constraint"),
        ("=[_]", "as a constraint"),
        ("tokens=data", "as a sharding"),
        ("token=[data, _]", "matches no argument"),
        ("role:output=[data]", "matches no argument"),
        ("tokens=[data]", "has 1 dimensions but 'tokens' has 2"),
        ("tokens=[batch, _]", "unknown mesh axis 'batch'"),
        ("tokens=[data, data]", "used twice"),
        ("tokens=[_, data model]", "of size 6 cannot be split 8 ways by data×model"),
        ("tokens=[_, _] partial(data: sum)", "asks for a partial result"),
    ],
)
def test_errors_name_the_constraint_and_a_next_step(text, message):
    with pytest.raises(JogakError, match=message.replace("*", r"\*")) as caught:
        resolved(text)
    assert "--shard" in str(caught.value.where)
    assert caught.value.hint


def test_a_file_of_strategies(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        '[shard]\n"tokens" = "[data, _]"\n'
        '[[strategy]]\n[strategy.shard]\n"*.up.weight" = "[model, _] p1"\n'
        '[[strategy]]\n[strategy.shard]\n"*.qkv.weight" = "[?, ?]"\n'
    )
    found = read_constraints(path)
    assert [(each.pattern, each.spec.priority) for each in found] == [
        ("tokens", 0),
        ("*.up.weight", 2),
        ("*.qkv.weight", 2),
    ]
    assert [each.source for each in found] == [f"{path}:2", f"{path}:5", f"{path}:8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shard = 3", "'shard' is not a table"),
        ("strategy = 3", "'strategy' is not an array of tables"),
        ("[[strategy]]\nshard = 3", "'shard' is not a table"),
        ("[[strategy]]\n[strategy.shards]", "unknown key 'shards'"),
        ("[shrad]", "unknown key 'shrad'"),
        ("[shard", "not valid TOML"),
        ('[shard]\n"x" = ["model"]', "as a sharding"),
        ("[shard]\nx = 3", "as a sharding"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, text, message):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(JogakError, match=message) as caught:
        read_constraints(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(JogakError, match="there is no such"):
        read_constraints(tmp_path / "missing.toml")
    with pytest.raises(JogakError, match="cannot read"):
        read_constraints(tmp_path)
    path = tmp_path / "plan.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(JogakError, match="not valid TOML"):
        read_constraints(path)


@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), max_size=4))
def test_logical_groups_cover_the_program_in_order(parts):
    """Groups whose sizes multiply to the logical ones, every dimension of the program once where none has size 1."""
    groups = [[size for size in group if size > 1] or [1] for group in parts]
    logical = []
    for group in groups:
        size = 1
        for part in group:
            size *= part
        logical.append(size)
    shape = [size for group in groups for size in group]
    found = logical_groups(shape, logical)
    assert [[shape[dim] for dim in group] for group in found] == groups
