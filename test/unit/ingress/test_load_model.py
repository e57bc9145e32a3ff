"""What a MODEL argument can name, and what every mistake in it is answered with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from jogak.errors import JogakError
from jogak.ingress.model import load_model, split_query
from jogak.ingress.options import ImportOptions


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("{models}:clasifier", "unknown callable 'clasifier'", "did you mean 'classifier'"),
        ("{models}:constant", "is a int, not a callable", "return"),
        ("{models}:number", r"returned \(int\)", "return"),
        ("{models}:raises", "raised ValueError: no such data", "run it in Python"),
        ("{models}:no_tensor", "no tensor among", "return"),
        ("{models}:list_of_inputs", "the inputs are a device", "return"),
        ("{models}", "the callable is missing", "models.py:NAME"),
        ("{folder}/model.py:classifier", "no such file", "did you mean .*models.py"),
        ("{folder}", "is a directory", "file"),
        ("{folder}/broken.py:f", "raised SyntaxError", "run it in Python"),
        ("{folder}/fake.pt2", "not a zip archive", "torch.export.save"),
        ("{folder}/missing.pt2", "no such file", ""),
        ("nothing", "names no model", "file.py:callable"),
        ("no_such_package.module:f", "no module named 'no_such_package'", "file.py:callable"),
        ("zoo:gpt", "unknown model 'gpt'", "gpt2"),
        ("zoo:mlp?layers", "cannot read the options", "option=value"),
        ("zoo:mlp?layers=1&layers=2", "given twice", "once"),
    ],
)
def test_mistakes(models: Path, spec: str, message: str, hint: str) -> None:
    (models.parent / "broken.py").write_text("def f(:\n")
    (models.parent / "fake.pt2").write_text("not a zip")
    with pytest.raises(JogakError, match=message) as caught:
        load_model(spec.format(models=models, folder=models.parent), ImportOptions())
    assert caught.value.where
    assert pytest.importorskip("re").search(hint, str(caught.value.hint))


def test_exception_in_a_callable_shows_the_users_line(models: Path) -> None:
    line = next(i for i, text in enumerate(models.read_text().splitlines(), 1) if "no such data" in text)
    with pytest.raises(JogakError) as caught:
        load_model(f"{models}:raises", ImportOptions())
    assert caught.value.where == f"{models}:{line}"


def test_callable_of_a_module(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(models.parent))
    model = load_model("models:classifier", ImportOptions())
    monkeypatch.delitem(sys.modules, "models")
    assert model.names == ["features"]


def test_seed_decides_the_weights(models: Path) -> None:
    one, same, other = (load_model(f"{models}:classifier", ImportOptions(seed=seed)) for seed in (1, 1, 2))
    weight = one.parameters["first.weight"]
    assert weight.equal(same.parameters["first.weight"])
    assert not weight.equal(other.parameters["first.weight"])


def test_zoo_is_built_on_meta_and_again_with_values() -> None:
    model = load_model("zoo:mlp?layers=2&width=8&batch=2", ImportOptions())
    assert model.on_meta
    assert model.build_real is not None
    assert not model.build_real().on_meta


def test_inputs_are_named_by_the_forward(models: Path) -> None:
    assert load_model(f"{models}:own", ImportOptions()).names == ["x", "labels"]


def test_split_query() -> None:
    assert split_query("gpt2?layers=2&width=64") == ("gpt2", {"layers": "2", "width": "64"})
    assert split_query("gpt2") == ("gpt2", {})


class Called(TorchDispatchMode):
    """The names of all ops that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def test_meta_weights_are_not_drawn_and_real_ones_are() -> None:
    with Called() as built:
        model = load_model("zoo:gpt2?layers=1&width=16&heads=2&vocab=32&context=8&sequence=8", ImportOptions())
    assert built.names.isdisjoint(["aten::normal_", "aten::normal_functional", "prims::normal"])
    assert model.build_real is not None
    with Called() as real:
        made = model.build_real()
    assert "aten::normal_" in real.names
    assert float(made.parameters["wte.weight"].std()) > 0
