"""`jogak remat` and `jogak pack`: what is printed, and errors."""

from __future__ import annotations

import json

import pytest

from jogak.cli.main import main

NODES = [{"id": name, "cost_cpu": 1, "cost_ram": size} for name, size in zip("abcde", (1, 9, 9, 1, 1), strict=True)]
LINKS = [{"source": source, "target": target} for source, target in ("ab", "bc", "cd", "ae", "de")]


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"nodes": NODES, "links": LINKS}))
    return path


def test_remat_prints_one_object(graph, capsys):
    assert main(["remat", str(graph), "--memory", "18", "--fixed-order"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {
        "base_peak", "peak", "added_time_percent", "lower_bound_percent", "optimal", "feasible",
        "minimum_peak_bound", "seconds", "sequence",
    }  # fmt: skip
    assert (answer["base_peak"], answer["peak"], answer["optimal"]) == (19, 18, True)
    assert answer["sequence"] == ["a", "b", "c", "d", "a", "e"]


def test_a_budget_that_nothing_fits_is_an_answer(graph, capsys):
    assert main(["remat", str(graph), "--memory", "0.5x"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["feasible"], answer["optimal"], answer["minimum_peak_bound"]) == (False, True, 18)
    assert (answer["sequence"], answer["peak"]) == ([], None)


def test_pack_prints_one_object(tmp_path, capsys):
    path = tmp_path / "b.csv"
    path.write_text("id,lower,upper,size\na,0,2,10\nb,1,3,20\nc,2,3,10\n")
    assert main(["pack", str(path), "--capacity", "100"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"height", "lower_bound", "optimal", "seconds", "offsets"}
    assert (answer["height"], answer["lower_bound"], answer["optimal"]) == (30, 30, True)
    assert answer["offsets"]["a"] == answer["offsets"]["c"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["remat", "graph.json", "--memory", "1", "--time-limit", "0"], 2, "--time-limit: a time limit of 0"),
        (["remat", "graph.json", "--memory", "5GB"], 2, "--memory: cannot read '5GB' as a budget"),
        (["remat", "none.json", "--memory", "5"], 1, "none.json: cannot read the graph"),
        (["pack", "none.csv"], 1, "none.csv: cannot read the buffers"),
        (["pack", "none.csv", "--capacity", "-1"], 2, "--capacity: a capacity of -1 bytes"),
    ],
)
def test_mistakes(graph, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(graph.parent)
    assert main(words) == code
    assert message in capsys.readouterr().err
