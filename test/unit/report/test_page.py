"""report.html: parsed, and its numbers compared with the files that they come from."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jogak.cli.main import main
from jogak.report.manifest import load_manifest
from jogak.report.page import charts
from jogak.report.page.build import page
from jogak.report.page.html import Cell, table

MODEL = "zoo:gpt2?layers=2&heads=2&width=32&vocab=64&context=16&sequence=16&batch=4"
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Tables as rows of (text, exact value), cards by name, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, float | None]]]] = {}
        self.cards: dict[str, float] = {}
        self.links: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[tuple[str, float | None]]] = []
        self._cell: tuple[str, float | None] | None = None
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in ("src", "href") if name in given]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows = self.tables.setdefault(given["id"], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag == "td":
            self._cell = "", float(given["data-value"]) if "data-value" in given else None
        elif given.get("class") == "card":
            self.cards[given["data-name"]] = float(given["data-value"])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that is closed at once."""

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell = self._cell[0] + data, self._cell[1]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "td" and self._cell is not None:
            self._rows[-1].append(self._cell)
            self._cell = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "out"
    asked = ["--mesh", "data=2", "--shard", "tokens=[data, _]", "--shard", "target=[data, _]"]
    assert main(["compile", MODEL, "--train", "adamw", *asked, "-o", str(path)]) == 0
    assert main(["report", str(path)]) == 0
    return path


def read(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_has_the_numbers_of_the_manifest(folder):
    manifest, found = load_manifest(folder), read(folder)
    predicted = manifest["predicted"]
    assert found.cards["step time"] == predicted["step_time_s"]
    assert found.cards["peak memory per device"] == predicted["peak_memory_bytes"]
    rows = [(row[1][0], row[2][1], row[3][1]) for row in found.tables["collective-table"] if row]
    assert rows == [
        (axes, along["count"], along["bytes"])
        for entry in predicted["collectives"].values()
        for axes, along in entry["by_axis"].items()
    ]
    assert sum(row[4][1] or 0 for row in found.tables["place-table"] if row) == sum(count for _, count, _ in rows)
    held = sum(row[5][1] or 0 for row in found.tables["plan-table"] if row)
    memory = json.loads((folder / "memory.json").read_text())
    assert held == pytest.approx(memory["resident_bytes"], rel=0.02), "the arena rounds up"
    assert "mesh-table" not in found.tables
    assert [row[1][1] for row in found.tables["phase-table"] if row] == [p["seconds"] for p in manifest["phases"]]


def test_meshes_of_a_search(folder):
    fast = {"mesh": "data=2", "feasible": True, "objective": 0.5, "lower_bound": 0.4, "peak_memory_bytes": 10}
    large = {"mesh": "data=4", "feasible": False, "objective": None, "lower_bound": None, "peak_memory_bytes": None}
    search = {"objective": 0.5, "lower_bound": 0.4, "gap": 0.2, "variables": 7, "meshes": [fast, large]}
    found = Page(page(folder, load_manifest(folder) | {"search": search}))
    assert found.cards["gap to the bound"] == 0.2
    rows = [row for row in found.tables["mesh-table"] if row]
    assert [row[0][0] for row in rows] == ["data=2", "data=4"]
    assert [row[1][1] for row in rows] == [0.5, None]


def test_the_page_needs_nothing_else(folder):
    found = read(folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert all(link.startswith("#") for link in found.links)
    assert "<script" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_same_folder_gives_the_same_page(folder):
    manifest = load_manifest(folder)
    assert page(folder, manifest) == page(folder, manifest)


def test_measured_and_frontier_are_shown_where_they_are(folder, tmp_path):
    assert "measured-table" not in read(folder).tables
    reduce_ = {"kind": "all_reduce", "axes": "data", "bytes": 4, "source": ""}
    profile: dict[str, Any] = {
        "processes": 2, "steps": 3,
        "step": {"predicted_s": 0.2, "measured_s": 0.3},
        "memory": {"predicted_bytes": 100, "measured_bytes": 110},
        "forms": {"vector": {"predicted_s": 0.1, "measured_s": 0.1, "processor_s": 0.1}},
        "segments": [{"source": "layer & <b>", "predicted_s": 0.1, "measured_s": 0.2, "processor_s": 0.1, "lines": 2}],
        "collectives": [{**reduce_, "predicted_s": 0.1, "measured_s": 0.3, "exposed_s": 0.2}],
    }  # fmt: skip
    points = [{"memory_bytes": 10 * n, "added_time_percent": 5.0 - n, "recomputed_ops": n} for n in (1, 2)]
    frontier = {"points": points}
    (folder / "profile.json").write_text(json.dumps(profile))
    (folder / "frontier.json").write_text(json.dumps(frontier))
    try:
        found = Page(page(folder, load_manifest(folder)))
    finally:
        (folder / "profile.json").unlink()
        (folder / "frontier.json").unlink()
    rows = {row[0][0]: row for row in found.tables["measured-table"] if row}
    assert rows["step"][3][1] == pytest.approx(1.5)
    assert rows["all-reduce on data"][2][1] == 0.2
    assert rows["peak memory"][3][1] == pytest.approx(1.1)
    assert [row[0][1] for row in found.tables["frontier-table"] if row] == [10, 20]


def test_text_from_outside_is_escaped():
    assert "&lt;b&gt;" in table("t", ("a",), [[Cell("<b>", code=True)]])


def test_a_thinned_curve_keeps_its_peaks():
    values = [0.0] * 100_000
    values[77_777] = 5.0
    found = charts.thinned(values)
    assert len(found) <= 1500
    assert (77_777, 5.0) in found


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0]])
def test_small_curves(values):
    Page(charts.area(values, 1.0, str, "title", "steps"))
