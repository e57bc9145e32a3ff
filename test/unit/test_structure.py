"""The form that every built-in pass has: one file, one frozen dataclass, documentation, lit tests."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from jogak.ir.options import describe_options
from jogak.passes import pass_files
from jogak.plugin import Pass
from jogak.registry import default_registry

FILES = pass_files()
SECTIONS = ("Before:", "After:", "Options:", "Failure:", "Example:")


@pytest.mark.parametrize("name", FILES)
def test_pass_is_a_documented_frozen_dataclass(name):
    kind = default_registry().pass_class(name)
    assert issubclass(kind, Pass)
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    lines = (inspect.getdoc(kind) or "").splitlines()
    assert lines[0].endswith(".")
    missing = [section for section in SECTIONS if not any(line.startswith(section) for line in lines)]
    assert not missing, f"the docstring of {name} lacks {missing}"


@pytest.mark.parametrize("name", FILES)
def test_every_option_is_documented(name):
    kind = default_registry().pass_class(name)
    _, _, described = (inspect.getdoc(kind) or "").partition("\nOptions:")
    names = [option.name for option in describe_options(kind)]
    assert [name for name in names if not re.search(rf"\b{name}\b", described)] == []


@pytest.mark.parametrize("name", FILES)
def test_pass_has_lit_tests(name, root):
    source = FILES[name]
    folder: Path = root / "test" / "lit" / source.parent.name
    assert list(folder.glob(f"{source.stem}*.mlir")), f"no {folder.relative_to(root)}/{source.stem}*.mlir"


def test_lit_folders_mirror_the_families(root):
    families = {path.parent.name for path in FILES.values()}
    folders = {path.name for path in (root / "test" / "lit").iterdir() if path.is_dir() and path.name != "Output"}
    assert families <= folders
