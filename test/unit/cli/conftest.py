"""What the tests of the commands share: a way to run one in this process, and small models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from jogak.cli import main, opt

MLP = "zoo:mlp?layers=2&width=8&features=8&classes=4&batch=4"


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def jogak(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `jogak WORDS` in this process and captures what reaches the file descriptors."""

    def run(*words: str) -> Ran:
        capfd.readouterr()
        code = main.main(list(words))
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def jogak_opt(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `jogak-opt WORDS` in this process."""

    def run(*words: str) -> Ran:
        capfd.readouterr()
        code = opt.main(list(words))
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a small training step on two axes."""
    folder = tmp_path_factory.mktemp("compiled") / "out"
    words = ["compile", MLP, "--train", "adamw", "--mesh", "data=2,model=2", "--shard", "role:input=[data, ?]"]
    code = main.main([*words[:-2], "--shard", "layers.0.weight=[model, _]", "-o", str(folder)])
    assert code == 0
    return folder
