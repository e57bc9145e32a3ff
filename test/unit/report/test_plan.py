"""The Python API."""

from __future__ import annotations

import json

import jsonschema
import pytest
import torch
from torch import nn

import jogak
from jogak.cli import main
from jogak.errors import JogakError


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 8)
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(self.table(tokens))))


ASKED = {"tokens": "[data, _]", "target": "[data, _]", "up.weight": "[model, _]"}


@pytest.fixture(scope="module")
def plan() -> jogak.Plan:
    torch.manual_seed(0)
    tokens = torch.randint(0, 6, (4, 3))
    return jogak.compile(
        Classifier(), (tokens,), mesh="data=2,model=2", train="adamw", loss="cross_entropy", shard=ASKED
    )


def test_plan_tells_what_was_decided(plan, root):
    assert plan.shardings["up.weight"] == "[model, _]"
    assert plan.shardings["down.weight"] == "[_, model]"
    assert "shard.all_reduce" in plan.device_program
    assert "shard.all_reduce" not in plan.program
    assert "for 4 devices (data=2,model=2)" in str(plan)
    schema = json.loads((root / "docs" / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(plan.manifest, schema)


def test_saved_plan_runs_on_the_users_values(plan, tmp_path, capsys):
    plan.save(tmp_path / "out")
    assert main.main(["run", str(tmp_path / "out"), "--check"]) == 0
    assert "the unpartitioned program" in capsys.readouterr().out
    files = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["weights"]["files"]
    assert files == ["weights/parameters.safetensors", "weights/inputs.safetensors"]
    assert main.main(["run", str(tmp_path / "out")]) == 0
    torch.manual_seed(0)
    tokens, model = torch.randint(0, 6, (4, 3)), Classifier()
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "out" / "weights" / "inputs.safetensors")
    assert torch.equal(saved["tokens"], tokens)
    loss = nn.functional.cross_entropy(model(saved["tokens"]).flatten(0, 1), saved["target"].flatten())
    assert f"loss = {loss.item():.5g}"[:12] in capsys.readouterr().out


def test_save_does_not_overwrite(plan, tmp_path):
    plan.save(tmp_path / "out")
    with pytest.raises(JogakError, match="earlier output"):
        plan.save(tmp_path / "out")
    plan.save(tmp_path / "out", force=True)


def test_meta_model_needs_no_weights(tmp_path):
    with torch.device("meta"):
        model, tokens = Classifier(), torch.zeros(4, 3, dtype=torch.int64)
    plan = jogak.compile(model, (tokens,), mesh="data=2", shard={"tokens": "[data, _]"})
    plan.save(tmp_path / "out")
    assert plan.manifest["weights"]["files"] == []
    assert main.main(["run", str(tmp_path / "out"), "--check"]) == 0


def test_model_keeps_its_modes():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).eval())
    jogak.compile(model, (torch.zeros(2, 4),), mesh="data=2")
    assert [module.training for module in model] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": "adamv"}, "unknown value 'adamv'"),
        ({"loss": "mce"}, "unknown value 'mce'"),
        ({"autocast": "fp8"}, "unknown value 'fp8'"),
        ({"mesh": "data=two"}, "cannot read"),
        ({"shard": {"nothing": "[data]"}}, "matches no argument"),
        ({"shard": {"tokens": "[model, _]"}}, "unknown mesh axis 'model'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with torch.device("meta"):
        model, tokens = Classifier(), torch.zeros(4, 3, dtype=torch.int64)
    with pytest.raises(JogakError, match=message):
        jogak.compile(model, (tokens,), **{"mesh": "data=2", **arguments})


def test_devices_alone_let_the_search_decide():
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    plan = jogak.compile(model, (torch.zeros(4, 8),), devices=4)
    assert plan.manifest["mesh"]["devices"] == 4
    assert {entry["mesh"] for entry in plan.manifest["search"]["meshes"]} == {"data=4", "data=2,model=2"}
    assert plan.manifest["search"]["lower_bound"] <= plan.manifest["search"]["objective"]


@pytest.mark.parametrize("given", [{}, {"devices": 2, "mesh": "data=2"}])
def test_devices_or_a_mesh_is_needed(given):
    with pytest.raises(JogakError, match="either devices or mesh"):
        jogak.compile(torch.nn.Linear(2, 2), (torch.zeros(2, 2),), **given)
