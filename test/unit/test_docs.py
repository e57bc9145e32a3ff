"""The documentation: generated pages are up to date, examples run, links lead somewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from jogak.errors import JogakError
from jogak.passes import pass_files
from jogak.plugin import Pass
from jogak.registry import default_registry
from jogak.report import docs
from jogak.report.markdown import broken_links, failing_code
from jogak.report.pass_docs import Example, read_pass_doc, run_example


@pytest.mark.parametrize("name", pass_files())
def test_example_of_the_docstring(name):
    doc = read_pass_doc(default_registry().pass_class(name))
    assert doc.example.after
    assert run_example(name, doc.example) is None


def test_generated_pages_are_up_to_date(root):
    assert list(docs.outdated(root / "docs" / "passes")) == []


def test_links_lead_somewhere(root):
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    assert [line for page in pages for line in broken_links(page)] == []


@pytest.mark.slow
def test_runnable_code_runs(root):
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    assert [line for page in pages for line in failing_code(page)] == []


def test_example_that_is_wrong_is_found():
    before = 'shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}\n'
    problem = run_example("jogak-declare-mesh", Example("mesh=4", before, ("shape = 4", "shape = 2")))
    assert problem is not None
    assert "lacks, at its place: shape = 2" in problem


def test_docstring_without_a_section():
    @dataclass(frozen=True)
    class Undocumented(Pass):
        """Does something.

        Before: anything.
        """

        name: ClassVar[str] = "jogak-undocumented"

    with pytest.raises(JogakError, match="lacks After:"):
        read_pass_doc(Undocumented)


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Title\n", encoding="utf-8")
    (tmp_path / "docs" / "index.md").write_text("# Index\n\nAn [anchor](#index).\n", encoding="utf-8")
    return tmp_path


def test_pages_are_written_and_checked(tree, capsys):
    (tree / "docs" / "passes").mkdir()
    (tree / "docs" / "passes" / "jogak-gone.md").write_text("old", encoding="utf-8")
    assert docs.main(["--root", str(tree)]) == 0
    assert not (tree / "docs" / "passes" / "jogak-gone.md").exists()
    assert docs.main(["--root", str(tree), "--check"]) == 0
    assert "up to date" in capsys.readouterr().out


def test_check_lists_what_is_wrong(tree, capsys):
    docs.main(["--root", str(tree)])
    folder = tree / "docs" / "passes"
    (folder / "jogak-partition.md").write_text("changed", encoding="utf-8")
    (folder / "jogak-propagate.md").unlink()
    (folder / "stray.md").write_text("# Stray\n", encoding="utf-8")
    wrong = "[a](no.md) [b](index.md#nothing) [c](https://example.org/x) `[d](code.md)`\n\n```python run\n1 / 0\n```\n"
    (tree / "docs" / "page.md").write_text(wrong, encoding="utf-8")
    assert docs.main(["--root", str(tree), "--check"]) == 1
    told = capsys.readouterr().err
    assert "jogak-partition.md: is out of date" in told
    assert "jogak-propagate.md: is missing" in told
    assert "stray.md: belongs to no pass" in told
    assert "the link to no.md leads nowhere" in told
    assert "index.md has no heading #nothing" in told
    assert "ZeroDivisionError" in told
    assert "example.org" not in told
    assert "code.md" not in told


def test_somewhere_else_is_an_error(tmp_path, capsys):
    assert docs.main(["--root", str(tmp_path)]) == 1
    assert "not the source tree" in capsys.readouterr().err
