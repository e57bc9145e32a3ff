"""What the tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings
from torch_mlir import ir

from jogak.ingress import importer
from jogak.ir.context import new_context, parse_module
from jogak.targets.distributed import launch
from jogak.testing.forked import forked
from jogak.testing.imports import once

ROOT = Path(__file__).parent.parent

settings.register_profile("no deadline", deadline=None)  # a busy machine must not fail a test
settings.load_profile("no deadline")


@pytest.fixture(scope="session", autouse=True)
def _imported_once() -> Iterator[None]:
    """Compilations in this process share the import of a model: 7 of 88 CPU seconds of the GPT-2 and MoE equalities."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importer, "import_program", once(importer.import_program))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The source tree."""
    return ROOT


@pytest.fixture
def parse() -> Callable[[str], ir.Module]:
    """Reads MLIR text in a context of its own."""
    return lambda text: parse_module(text, new_context())


@pytest.fixture
def forked_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks are forks of one process instead of torchrun's, for tests of what they compute."""
    monkeypatch.setattr(launch, "torchrun", forked)


@pytest.fixture
def run_opt() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `jogak-opt` in a process of its own, with text on its stdin."""

    def run(*words: str, text: str = "", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jogak.cli.opt", *words]
        surroundings = {**os.environ, **(env or {})}
        return subprocess.run(command, input=text, capture_output=True, text=True, env=surroundings, check=False)

    return run
