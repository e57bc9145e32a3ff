"""Ten training steps on real processes against PyTorch on one device: losses, and every result of the last step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.reference import run_reference
from jogak.report.manifest import load_manifest
from jogak.report.output import write_output
from jogak.runtime.values import load_values
from jogak.targets.target import Request
from jogak.targets.torch.target import Torch
from jogak.testing.training import TRAININGS, started, ten_steps

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_ranks")]


@pytest.mark.parametrize("name", TRAININGS)
def test_ten_steps_equal_eager(tmp_path: Path, name: str) -> None:
    # In f32 one rounding that switches a ReLU or a maximum sends the losses of a ResNet apart after five steps.
    done, losses = ten_steps(TRAININGS[name].compile(tmp_path / "out", "torch"), Torch(), "f64")
    torch.testing.assert_close(torch.tensor(done.losses), torch.tensor(losses), rtol=1e-6, atol=0)
    assert losses[-1] != losses[0]
    assert max(done.disagreement.values()) <= 1e-5


EAGER = Path(__file__).parents[1] / "unit" / "autoshard" / "eager.toml"
ODD = "zoo:gpt2?layers=1&heads=2&width=18&vocab=51&context=5&sequence=5&batch=3"


def searched(made: Path, mesh: str) -> Path:
    """An output folder whose plan the search found on a machine where it splits everything."""
    options = ImportOptions(Optimizer("adamw", learning_rate=1e-3))
    asked = Configuration(ODD, mesh, options, target="torch", machine=str(EAGER), searched="plan")
    write_output(compile_configuration(asked), made)
    return made


def test_padded_pieces_run_and_go_on_on_another_mesh(tmp_path: Path) -> None:
    four = searched(tmp_path / "four", "data=4")
    manifest = load_manifest(four)
    assert sum("padded_shape" in entry for entry in manifest["arguments"]) > 10
    values = load_values(four, manifest)
    done = Torch().execute(four, manifest, values, Request(steps=1, timeout=300))
    options = Configuration.from_json(manifest["configuration"]).options
    expected = run_reference(ODD, options, values)
    for name, value in done.results.items():
        torch.testing.assert_close(value, expected[name].reshape(value.shape), rtol=1e-4, atol=1e-5, msg=name)
    run = tmp_path / "run"
    whole = started(four, 4, "--steps", "4")
    first = started(four, 4, "--steps", "2", "--checkpoint", str(run), "--save-every", "2")
    index = json.loads((run / "step-00000002" / "index.json").read_text(encoding="utf-8"))
    assert index["tensors"].keys() == {entry["name"] for entry in manifest["arguments"] if entry["role"] != "input"}
    rest = started(searched(tmp_path / "two", "data=2"), 2, "--steps", "4", "--checkpoint", str(run))
    torch.testing.assert_close(torch.tensor(first + rest), torch.tensor(whole), rtol=1e-4, atol=0)
