"""Losses, optimizers and the reference by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.errors import JogakError
from jogak.ingress import losses, optimizers
from jogak.ingress.model import Model
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.reference import initial_values, run_reference, values_of

OPTIMIZERS = [
    Optimizer("sgd", learning_rate=0.1),
    Optimizer("sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.05),
    Optimizer("adamw", learning_rate=0.01),
    Optimizer("adamw", learning_rate=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
]


def torch_optimizer(optimizer: Optimizer, parameters: list[Tensor]) -> torch.optim.Optimizer:
    rate, decay = optimizer.learning_rate, optimizer.weight_decay
    if optimizer.kind == "sgd":
        return torch.optim.SGD(parameters, rate, optimizer.momentum, weight_decay=decay)
    return torch.optim.AdamW(parameters, rate, optimizer.betas, optimizer.eps, decay)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_equal_torch(optimizer: Optimizer) -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    parameter = nn.Parameter(value.clone())
    real = torch_optimizer(optimizer, [parameter])
    state = {slot: torch.zeros_like(value) for slot in optimizers.state_slots(optimizer)}
    for step in range(1, 6):
        gradient = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        parameter.grad = gradient.clone()
        real.step()
        number = torch.tensor(float(step), dtype=torch.float64)
        scale = optimizers.corrections(optimizer, number) if optimizers.counts_steps(optimizer) else None
        value, state = optimizers.update(optimizer, value, gradient, state, scale)
        torch.testing.assert_close(value, parameter.data, rtol=1e-12, atol=1e-14)


def test_bias_correction_keeps_its_digits_in_f32() -> None:
    optimizer = Optimizer("adamw", learning_rate=1.0)
    scale = optimizers.corrections(optimizer, torch.tensor(1.0))
    assert scale.second_moment.item() == pytest.approx(0.001**-0.5, rel=1e-6)


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (2, 5, 3, 4), (5,)])
def test_labels_loss_is_cross_entropy(shape: tuple[int, ...]) -> None:
    output = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    example = losses.target_example("cross_entropy", output)
    target = torch.randint(0, 5, example.shape)
    if target.dim():
        target.view(-1)[0] = losses.IGNORED_LABEL
    ours, theirs = losses.labels_loss(output, target), losses.apply_loss("cross_entropy", output, target)
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(loss, output)[0] for loss in (ours, theirs))
    torch.testing.assert_close(*gradients)
    if output.dim() == 3:
        torch.testing.assert_close(theirs, functional.cross_entropy(output.flatten(0, 1), target.flatten()))


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (torch.tensor(2.0), True),
        (torch.ones(3), False),
        ((torch.tensor(2.0), torch.ones(3)), True),
        ((torch.ones(3), torch.tensor(2.0)), False),
        ({"loss": torch.tensor(2.0), "logits": torch.ones(3)}, True),
        ({"loss": None, "logits": torch.ones(3)}, False),
    ],
)
def test_own_loss(output: object, found: bool) -> None:
    assert (losses.own_loss(output) is not None) == found


def test_prediction_of_nothing() -> None:
    with pytest.raises(JogakError, match="no tensor"):
        losses.prediction([1, 2])


def test_inputs_stay_in_range() -> None:
    class Tokens(nn.Module):
        def forward(self, tokens: Tensor, other: Tensor, mask: Tensor) -> Tensor:
            return tokens + other + mask

    examples = (torch.zeros(50, dtype=torch.long), torch.tensor([3, 7] * 25), torch.ones(50, dtype=torch.bool))
    values = values_of(Model("tokens", Tokens(), examples, bounds={"tokens": 5}), ImportOptions(seed=3))
    assert set(values["tokens"].tolist()) == set(range(5))
    assert torch.equal(values["other"], examples[1]), "without a bound they stay those of the example"
    assert values["mask"].all()


def test_values_depend_on_the_seed_alone(models: Path) -> None:
    spec, options = f"{models}:classifier", ImportOptions(Optimizer("adamw"), loss="cross_entropy", seed=4)
    first, second = initial_values(spec, options), initial_values(spec, options)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = initial_values(spec, ImportOptions(Optimizer("adamw"), loss="cross_entropy", seed=5))
    assert not torch.equal(first["features"], other["features"])
    assert first["target"].max() < 5
    assert not first["exp_avg.first.weight"].any()


def test_values_have_the_type_that_was_asked_for(models: Path) -> None:
    values = initial_values(f"{models}:tied", ImportOptions(), dtype=torch.float64)
    assert values["embedding.weight"].dtype == torch.float64
    assert values["tokens"].dtype == torch.int64


def test_reference_uses_the_values_that_it_gets(models: Path) -> None:
    spec = f"{models}:classifier"
    values = initial_values(spec, ImportOptions())
    values["second.weight"] = torch.zeros_like(values["second.weight"])
    values["second.bias"] = torch.arange(5.0)
    output = run_reference(spec, ImportOptions(), values)["output"]
    torch.testing.assert_close(output, torch.arange(5.0).expand(4, 5))


def test_meta_buffer_without_a_rule_has_no_value() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("shift", torch.empty(3, device="meta"))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.shift

    with pytest.raises(JogakError, match="buffer 'shift' of Shifted"):
        values_of(Model("shifted", Shifted(), (torch.ones(3),)), ImportOptions())
