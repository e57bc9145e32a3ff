"""Machine files: the presets, every kind of mistake, and the validator against a JSON Schema implementation."""

from __future__ import annotations

import copy
import json
import tomllib
from math import nan
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.cost.machine_file import load_machine, parse_machine, presets, read_machine, schema
from jogak.cost.schema import check
from jogak.errors import JogakError

VALID: dict[str, Any] = {
    "name": "test",
    "description": "a machine",
    "sources": ["assumed"],
    "device": {
        "memory_bytes": 1 << 34,
        "memory_bandwidth": 1e12,
        "kernel_overhead": 1e-6,
        "flops": {"f32": 1e13, "bf16": 1e14},
    },
    "achieved": {"compute": 0.5},
    "levels": [
        {"name": "node", "size": 8, "bandwidth": 3e11, "latency": 1e-6, "topology": "switch"},
        {"name": "network", "bandwidth": 2.5e10, "latency": 5e-6},
    ],
    "axes": {"data": {"bandwidth": 1e9, "latency": 0.0}},
    "collectives": {"latency": "once", "constants": {"all_reduce": 0.01}},
}
TEXT = """
name = "test"
description = "a machine"
sources = ["assumed"]
[device]
memory_bytes = 17179869184
memory_bandwidth = 1e12
[device.flops]
f32 = 1e13
[[levels]]
name = "node"
size = 8
bandwidth = 3e11
latency = 1e-6
[[levels]]
name = "network"
bandwidth = 25e9
latency = 5e-6
"""


@pytest.mark.parametrize("name", presets())
def test_presets_are_valid_and_name_their_sources(name):
    machine = load_machine(name)
    assert machine.name == name
    assert machine.sources
    assert machine.device.memory_bytes > 1 << 33
    assert [level.bandwidth for level in machine.levels] == sorted((x.bandwidth for x in machine.levels), reverse=True)


def test_the_presets_that_were_promised():
    promised = {"a100-40g", "a100-80g", "h100-sxm", "v100-p3.16xlarge", "tpu-v4", "tpu-v5e", "tpu-v5p", "cpu"}
    assert promised <= set(presets())


def test_numbers_of_the_default():
    """From the data sheet, independently of the file."""
    machine = load_machine("a100-80g")
    assert machine.device.memory_bytes == 80 * 2**30
    assert dict(machine.device.flops)["bf16"] == 312e12
    assert machine.devices_per_node == 8
    assert machine.devices is None
    assert [level.bandwidth for level in machine.levels] == [600e9 / 2, 200e9 / 8]


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        (
            "memory_bandwidth =",
            "memory_bandwith =",
            "unknown key 'memory_bandwith' in table [device]",
            "memory_bandwidth",
        ),
        ('name = "test"', 'nam = "test"', "unknown key 'nam' in the file", "did you mean 'name'?"),
        ("f32 = 1e13", "f32 = 1e13\nfp16 = 1e14", "unknown key 'fp16' in table [device.flops]", "did you mean 'f16'?"),
        ("f32 = 1e13", "", "table [device.flops] lacks the key 'f32'", "f32: a number"),
        (
            "memory_bytes = 17179869184\n",
            "",
            "table [device] lacks the key 'memory_bytes'",
            "memory of one device in bytes",
        ),
        (
            "bandwidth = 25e9\n",
            "",
            "table [levels[1]] lacks the key 'bandwidth'",
            "bytes a second that one device sends",
        ),
        ("bandwidth = 25e9", "bandwidth = -1", "levels[1].bandwidth is -1, not above 0", "give a number above 0"),
        ("bandwidth = 25e9", "bandwidth = nan", "levels[1].bandwidth is nan, not above 0", "give a number above 0"),
        ("latency = 5e-6", "latency = -1e-6", "levels[1].latency is -1e-06, not of at least 0", "of at least 0"),
        ("latency = 5e-6", 'latency = "5us"', "levels[1].latency is '5us', not a number", "give a number"),
        ("size = 8", "size = 8.5", "levels[0].size is 8.5, not a whole number", "give a whole number"),
        ("size = 8", "size = true", "levels[0].size is True, not a whole number", "give a whole number"),
        ("size = 8", "", "levels[0] has no size, so nothing is left for the next level", "give the size of 'node'"),
        ('name = "network"', 'name = "node"', "levels[1]: the name 'node' is taken", "a name of its own"),
        (
            "size = 8",
            'topology = "tours"',
            "levels[0].topology is 'tours', which it cannot be",
            "did you mean 'torus'?",
        ),
        ('sources = ["assumed"]', "sources = []", "sources is empty", "at least 1"),
        ('sources = ["assumed"]', 'sources = "assumed"', "sources is 'assumed', not an array", "give an array"),
        (
            "[device.flops]",
            "[achieved]\ncompute = 1.5\n[device.flops]",
            "achieved.compute is 1.5, not of at most 1",
            "most 1",
        ),
        ("name =", "name ==", "not valid TOML", "docs/machine-files.md"),
    ],
)
def test_mistakes(old, new, message, hint):
    assert old in TEXT
    with pytest.raises(JogakError) as caught:
        parse_machine(TEXT.replace(old, new, 1), "my.toml")
    assert caught.value.message.startswith(message)
    assert hint in (caught.value.hint or "")
    assert caught.value.where == "my.toml"


def test_the_text_of_the_mistakes_is_valid_without_them():
    assert parse_machine(TEXT, "my.toml").levels[0].size == 8


def test_every_key_is_read(tmp_path):
    machine = parse_machine(
        TEXT + '[axes.data]\nbandwidth = 1e9\nlatency = 0\ntopology = "ring"\n'
        '[collectives]\nlatency = "once"\n[collectives.constants]\nsend = 2\n'
        "[achieved]\nnetwork = 0.5\n",
        "my.toml",
    )
    assert machine.latency_once
    assert dict(machine.constants) == {"send": 2}
    assert machine.axes[0][1].topology == "ring"
    assert (machine.achieved.network, machine.achieved.compute) == (0.5, 1.0)


def test_a_missing_or_unreadable_file(tmp_path):
    with pytest.raises(JogakError, match="there is no such machine file"):
        read_machine(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(JogakError, match="not valid UTF-8"):
        read_machine(tmp_path / "bytes.toml")
    with pytest.raises(JogakError, match="cannot read the machine file"):
        read_machine(tmp_path)


def test_an_unknown_preset_is_named_with_the_nearest():
    with pytest.raises(JogakError) as caught:
        load_machine("a100_80g")
    assert caught.value.message == "unknown machine 'a100_80g'"
    assert "did you mean 'a100-80g'?" in (caught.value.hint or "")


def test_the_documented_schema_is_the_one_that_is_used(root):
    documented = json.loads((root / "docs" / "machine.schema.json").read_text(encoding="utf-8"))
    assert documented == schema()
    jsonschema.Draft202012Validator.check_schema(documented)


@pytest.mark.parametrize("name", presets())
def test_presets_satisfy_the_schema(root, name):
    data = tomllib.loads((root / "python" / "jogak" / "machines" / f"{name}.toml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(dict(schema())).validate(data)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in _places(item, (*path, key)))]


PLACES = [place for place in _places(VALID) if place]
NUMBERS = st.one_of(st.floats(allow_nan=False), st.integers(-3, 3), st.sampled_from([0, 0.0, 1, 1.0, 8.0, 0.5, -0.0]))
VALUES = st.one_of(NUMBERS, st.booleans(), st.sampled_from(["", "ring", "once", "x"]), st.just([]), st.just({}))


@st.composite
def mutants(draw: st.DrawFn) -> dict[str, Any]:
    """The valid document with some values replaced, keys dropped and keys added."""
    data = copy.deepcopy(VALID)
    for place in draw(st.lists(st.sampled_from(PLACES), max_size=3)):
        table: Any = data
        for key in place[:-1]:
            if isinstance(table, dict | list) and (key in table if isinstance(table, dict) else len(table) > key):
                table = table[key]
        key = place[-1]
        if isinstance(table, dict):
            match draw(st.sampled_from(["replace", "drop", "add"])):
                case "replace":
                    table[key] = draw(VALUES)
                case "drop":
                    table.pop(key, None)
                case "add":
                    table[draw(st.sampled_from(["other", "f16", "topology", "memory"]))] = draw(VALUES)
        elif isinstance(table, list) and isinstance(key, int) and len(table) > key:
            table[key] = draw(VALUES)
    return data


def _accepts(data: dict[str, Any]) -> bool:
    try:
        check(data, schema(), "my.toml")
    except JogakError:
        return False
    return True


@settings(deadline=None)
@given(mutants())
def test_the_validator_and_the_schema_agree(data):
    assert _accepts(data) == jsonschema.Draft202012Validator(dict(schema())).is_valid(data)


def test_not_a_number_is_refused():
    """JSON has no such value, so a JSON Schema implementation may let it through."""
    data = copy.deepcopy(VALID)
    data["device"]["memory_bandwidth"] = nan
    assert not _accepts(data)
