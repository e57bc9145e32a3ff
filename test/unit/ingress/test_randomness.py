"""Counted random numbers: their statistics, and that neither the mesh nor recomputation changes them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import jogak
from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress import randomness
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.randomness import SEED, counted_draws, random_bits
from jogak.ingress.reference import initial_values
from jogak.runtime.program import load_program
from jogak.runtime.simulator import simulate
from jogak.testing.equality import Case, check

MODEL = """
import torch
from torch import nn
from torch.nn import functional as F


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(32, 8)

    def forward(self, x):
        x = F.dropout2d(x[:, None], 0.2, self.training)[:, 0] + 0.1 * torch.randn_like(x)
        kept = torch.bernoulli(torch.rand(x.shape[0], 1))
        return (self.head(self.encoder(x)[:, 0] * kept) ** 2).mean()


def noisy():
    return Noisy(), (torch.randn(8, 8, 32),)
"""


def seed(value: int) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.int32)


def unit(bits: torch.Tensor) -> torch.Tensor:
    return (bits.double() + 2**31) / 2**32


def test_bits_are_uniform_in_every_part_of_the_word():
    bits = random_bits(seed(7), 0, (256, 1024))
    counts = torch.histc(unit(bits), 64, 0, 1)
    assert ((counts - 4096) ** 2 / 4096).sum() < 63 + 5 * (2 * 63) ** 0.5  # chi-squared, five standard deviations
    for position in range(32):
        ones = ((bits >> position) & 1).double().mean()
        assert abs(ones - 0.5) < 5 * 0.5 / 512


@pytest.mark.parametrize("other", [(8, 0), (7, 1), (7 ^ 0x9E3779B9 - 2**32, 1)])
def test_draws_and_seeds_do_not_repeat_each_other(other):
    one, two = unit(random_bits(seed(7), 0, (1 << 16,))), unit(random_bits(seed(other[0]), other[1], (1 << 16,)))
    pairs = torch.stack([one, two, one.roll(1), one.roll(64), one.roll(4096)])
    correlation = torch.corrcoef(pairs) - torch.eye(len(pairs))
    assert correlation.abs().max() < 5 / 256


def test_no_number_repeats_within_a_draw_and_large_shapes_are_keyed_by_row(monkeypatch):
    assert len(random_bits(seed(0), 3, (1 << 16,)).unique()) == 1 << 16
    monkeypatch.setattr(randomness, "_LARGEST", 512)
    rows = random_bits(seed(0), 3, (4, 16, 32))
    assert rows.shape == (4, 16, 32)
    assert len(rows.unique()) > 4 * 16 * 32 - 4


def test_what_the_model_calls_has_the_moments_of_pytorch():
    x = torch.ones(64, 1024)
    with counted_draws(seed(3)) as draws:
        dropped, uniform, normal = F.dropout(x, 0.25), torch.rand(64, 1024), torch.randn(64, 1024)
        ones, channels = torch.bernoulli(torch.full((64, 1024), 0.1)), F.dropout2d(x.reshape(64, 64, 4, 4), 0.5)
        assert F.dropout(x, 0.25, training=False) is x
    assert draws.count == 6  # a normal number takes two
    assert draws.next_seed()[SEED].item() == 4
    assert torch.equal(dropped.unique(), torch.tensor([0.0, 1 / 0.75]))
    for value, mean, deviation in (
        (dropped, 1, 3**-0.5), (uniform, 0.5, 12**-0.5), (normal, 0, 1), (ones, 0.1, 0.3),
    ):  # fmt: skip
        assert abs(value.mean() - mean) < 5 * deviation / 256
        assert abs(value.std() - deviation) < 0.02
    assert set(channels.sum((2, 3)).unique().tolist()) == {0.0, 32.0}


def test_outside_nothing_is_replaced():
    before = torch.rand, F.dropout
    with pytest.raises(ValueError, match="between 0 and 1"), counted_draws(seed(0)):
        F.dropout(torch.ones(2), 1.5)
    assert (torch.rand, F.dropout) == before


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("noisy") / "noisy.py"
    file.write_text(MODEL, encoding="utf-8")
    return f"{file}:noisy"


@pytest.mark.parametrize(("mesh", "strategy"), [("a=1", "data"), ("a=2,b=2", "mixed"), ("a=3", "data")])
def test_a_training_step_draws_what_pytorch_draws_on_every_mesh(model, mesh, strategy):
    verdict = check(Case(model, True, mesh, strategy))
    assert verdict.error <= 1e-5, verdict.worst


def step_of(model: str, memory: str) -> tuple[str, tuple[Tensor, ...]]:
    options = ImportOptions(Optimizer("adamw"), seed=5)
    made = compile_configuration(Configuration(model, "data=1", options, memory=memory))
    values = initial_values(model, options)
    program = load_program(made.device)
    inputs = {each.name: values[each.name].reshape(each.type.shape) for each in program.arguments}
    return str(made.device), simulate(program, made.mesh, [inputs]).outputs[0]


@pytest.mark.slow
def test_recomputed_masks_are_the_same(model):
    free, expected = step_of(model, "auto")
    tight, found = step_of(model, "min")
    assert "jogak.recompute_of" not in free
    assert "jogak.recompute_of" in tight
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_a_model_that_draws_nothing_has_no_seed():
    plan = jogak.compile(nn.Linear(4, 4), (torch.zeros(2, 4),), mesh="data=2")
    assert SEED not in plan.shardings
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    dropping = jogak.compile(model, (torch.zeros(2, 4),), mesh="data=2", train="sgd", loss="mse")
    assert SEED in dropping.shardings


def test_a_small_probability_drops_almost_nothing():
    with counted_draws(seed(0)) as draws:
        assert draws.keep(1 - 1e-10, (1000,)).all()
