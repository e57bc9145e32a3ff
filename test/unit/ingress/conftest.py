"""A user's file of models, and the comparison of a traced program with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from jogak.ingress.model import load_model
from jogak.ingress.options import ImportOptions
from jogak.ingress.program import Program
from jogak.ingress.reference import initial_values, run_reference
from jogak.ingress.trace import trace_model

MODELS = '''
import torch
from torch import nn
from torch.nn import functional as F


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 5)

    def forward(self, features):
        hidden = torch.relu(self.first(features))
        return self.second(hidden)


def classifier():
    return Classifier(), (torch.randn(4, 6),)


class Own(nn.Module):
    """Returns its own loss, replaces one buffer and changes another in place."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.frozen = nn.Parameter(torch.randn(3), requires_grad=False)
        self.unused = nn.Parameter(torch.randn(3))
        self.plain = torch.arange(3.0)
        self.register_buffer("average", torch.zeros(3))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long), persistent=False)

    def forward(self, x, labels):
        y = self.layer(x) * self.frozen + self.plain + torch.tensor([0.5, 1.5, 2.5])
        self.average = self.average * 0.9 + y.mean(0).detach() * 0.1
        self.calls += 1
        return F.cross_entropy(y, labels), y


def own():
    return Own(), (torch.randn(2, 3),), {"labels": torch.tensor([0, 2])}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4, padding_idx=1)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        x[:, 0] += 1.0
        return {"logits": self.head(x), "hidden": (x, None)}


def tied():
    return Tied(), (torch.randint(0, 11, (2, 3)),)


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (torch.randn(2, 4, 8),)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(4, 3)

    def forward(self, x):
        return self.cell(x)[0]


def recurrent():
    return Recurrent(), (torch.randn(3, 2, 4),)


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(6, 6, 3, groups=6),
            nn.GroupNorm(2, 6),
            nn.Upsample(scale_factor=1.5, mode="bilinear"),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Linear(24, 5)

    def forward(self, images):
        return self.head(self.body(images).flatten(1))


def images():
    return Images(), (torch.randn(2, 3, 9, 9),)


def low():
    return nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)).bfloat16(), (torch.randn(2, 8).bfloat16(),)


def meta():
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (torch.randn(2, 3, 6, 6),)


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(torch.empty_like(x).uniform_())


def dropping():
    return Dropping(), (torch.randn(2, 3),)


class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


def branching():
    return Branching(), (torch.randn(2, 3),)


class Unsupported(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        y = torch.cdist(x, self.weight)
        return torch.cummax(y, 1)[0]


def unsupported():
    return Unsupported(), (torch.randn(3, 4),)


def wrong_shape():
    return Classifier(), (torch.randn(4, 7),)


def raises():
    raise ValueError("no such data")


def number():
    return 3


def no_tensor():
    return Classifier(), (1, 2)


def list_of_inputs():
    return Classifier(), torch.device("cpu")


constant = 4
'''

Compare = Callable[..., Program]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A file with models of a user."""
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


class Wide(fx.Interpreter):
    """Evaluates a graph in double precision: every narrower type that a node names is widened."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = pytree.tree_map(self._widen, (args, kwargs))
        return super().call_function(target, args, kwargs)

    @staticmethod
    def _widen(value: Any) -> Any:
        narrow = (torch.float32, torch.bfloat16)
        return torch.float64 if isinstance(value, torch.dtype) and value in narrow else value


def filled(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values with optimizer state that is not zero."""
    generator = torch.Generator().manual_seed(1)
    for name, value in values.items():
        if name.startswith(("exp_avg.", "momentum.", "exp_avg_sq.")):
            drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            values[name] = drawn.abs() + 0.1 if name.startswith("exp_avg_sq.") else drawn
        if name == "optimizer.step":
            values[name] = value + 2
    return values


@pytest.fixture
def compare() -> Compare:
    """Evaluate the traced program in double precision, and compare every result with the reference."""

    def run(spec: str, options: ImportOptions) -> Program:
        program = trace_model(load_model(spec, options), options)
        values = filled(initial_values(spec, options, dtype=torch.float64))
        expected = run_reference(spec, options, values, dtype=torch.float64)
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            results = Wide(program.graph).run(*(values[each.name].clone() for each in program.arguments))
        finally:
            torch.set_default_dtype(default)
        for described, result in zip(program.results, results, strict=True):
            torch.testing.assert_close(result, expected[described.name], rtol=1e-8, atol=1e-10, check_dtype=False)
        return program

    return run
