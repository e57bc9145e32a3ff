"""Equal layers are traced once, and the program is the one that tracing every layer gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_mlir import ir

from jogak.ingress import repeated_layers, step
from jogak.ingress.importer import import_model, import_program
from jogak.ingress.model import Model
from jogak.ingress.options import ImportOptions, Optimizer

TRAINING = ImportOptions(Optimizer("adamw"))
INFERENCE = ImportOptions()


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What became of the calls of equal layers, by class."""
    counts: Counter[str] = Counter()
    find = repeated_layers.RepeatedLayers._find

    def counted(self: Any, layer: nn.Module, forward: Any, given: Any) -> Any:
        before = sum(map(len, self._traced.values()))
        name = type(layer).__name__
        try:
            outcome = find(self, layer, forward, given)
        except repeated_layers.NotRepeatable:
            counts[f"{name} refused"] += 1
            raise
        counts[f"{name} {'traced' if sum(map(len, self._traced.values())) > before else 'again'}"] += 1
        return outcome

    monkeypatch.setattr(repeated_layers.RepeatedLayers, "_find", counted)
    return counts


def described(module: ir.Module) -> list[tuple[str, str]]:
    """Every op and its place, and the program's text."""
    lines: list[tuple[str, str]] = [("", str(module))]

    def walk(op: ir.Operation) -> None:
        lines.append((op.name, str(op.location)))
        for region in op.regions:
            for block in region.blocks:
                for view in block.operations:
                    walk(view.operation)

    walk(module.operation)
    return lines


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace every layer from here on."""
    monkeypatch.setattr(repeated_layers, "equal_modules", lambda root: [])


def same(model: Model, options: ImportOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    once = described(import_model(model, options).module)
    with monkeypatch.context() as patch:
        without(patch)
        assert once == described(import_model(model, options).module)


CASES = {
    "gpt2": ("zoo:gpt2?layers=3&width=16&heads=2&vocab=32&sequence=8&batch=2", "PreNormBlock", 1, 2),
    "moe": ("zoo:moe?layers=3&width=16&heads=2&vocab=32&sequence=8&batch=2&experts=4", "Block", 1, 2),
    "resnet": ("zoo:resnet?depth=18&width=8&image=32&batch=2&classes=8", "BasicBlock", 1, 1),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_models(name: str, training: bool, found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    spec, layer, traced, again = CASES[name]
    options = TRAINING if training else INFERENCE
    once = described(import_program(spec, options).module)
    assert found == {f"{layer} traced": traced, f"{layer} again": again}
    without(monkeypatch)
    assert once == described(import_program(spec, options).module)


def test_mixed_precision(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = "zoo:llama?layers=2&width=16&heads=2&kv_heads=1&hidden=32&vocab=32&sequence=8&batch=2"
    options = ImportOptions(Optimizer("adamw"), None, "bf16")
    once = described(import_program(spec, options).module)
    assert found["Block again"] == 1
    without(monkeypatch)
    assert once == described(import_program(spec, options).module)


class Scaled(nn.Module):
    """A layer of which one number decides what it does."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.inner(x)) * self.factor


class Stack(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def stack(*layers: nn.Module) -> Model:
    """With a first layer that no other equals; the input of the others has a gradient."""
    return Model("test", Stack(nn.Linear(4, 4), *layers), (torch.zeros(2, 4),), loss="mse")


def test_number_decides(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    same(stack(Scaled(2.0), Scaled(3.0), Scaled(2.0), Scaled(3.0)), TRAINING, monkeypatch)
    assert found == {"Scaled traced": 2, "Scaled again": 2}


class Outer(nn.Module):
    """A layer of which a module inside decides what it does."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.scaled = Scaled(factor)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scaled(x)
        return out.sin()


def test_difference_within_a_module_inside(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    same(stack(Outer(2.0), Outer(3.0), Outer(3.0)), TRAINING, monkeypatch)
    assert found == {"Outer traced": 2, "Outer again": 1}


def test_no_two_alike(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    same(stack(*(Scaled(float(i)) for i in range(6))), TRAINING, monkeypatch)
    assert found == {"Scaled traced": 3, "Scaled refused": 3}


class Switched(Scaled):
    """A layer that computes without gradients when it is told to, by the same calls."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.factor > 2):
            y = torch.tanh(self.inner(x))
        return x + y


def test_switch_of_autograd_decides(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    same(stack(Switched(2.0), Switched(3.0), Switched(3.0)), TRAINING, monkeypatch)
    assert found == {"Switched traced": 2, "Switched again": 1}


class Keeping(Scaled):
    """A layer that keeps a loss of its own."""

    kept: Tensor

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.kept = y.square().mean()
        return y


class Collecting(Scaled):
    """A layer that puts a loss of its own into a list that others share."""

    def __init__(self, losses: list[Tensor]) -> None:
        super().__init__()
        self.hold = lambda value: losses.append(value)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.hold(y.square().mean())
        return y


class Summed(Stack):
    """Adds what its layers keep."""

    def __init__(self, losses: list[Tensor], *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.losses = losses

    def forward(self, x: Tensor) -> Tensor:
        self.losses.clear()
        y = super().forward(x)
        kept = [each.kept for each in self.layers if isinstance(each, Keeping)]
        return y + sum([*kept, *self.losses])


def test_kept_attribute(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    same(Model("test", Summed([], Keeping(), Keeping()), (torch.zeros(2, 4),), loss="mse"), TRAINING, monkeypatch)
    assert found == {"Keeping refused": 2}


def test_handed_on_behind_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[Tensor] = []
    model = Model("test", Summed(losses, Collecting(losses), Collecting(losses)), (torch.zeros(2, 4),), loss="mse")
    same(model, TRAINING, monkeypatch)


class Outside(Scaled):
    """A layer that reads a weight of another module."""

    def __init__(self, other: nn.Linear) -> None:
        super().__init__()
        self.other = [other]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) @ self.other[0].weight


def test_weight_of_another_module(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shared = nn.Linear(4, 4)
    same(stack(shared, Outside(shared), Outside(shared)), TRAINING, monkeypatch)
    assert found == {"Outside refused": 2}


class Two(Scaled):
    """A layer with two results, of which the model may use one."""

    def forward(self, x: Tensor) -> Any:
        first, second = self.inner(x).chunk(2, dim=-1)
        return torch.cat([second, first * 2], -1), first.sum() + x.sum()


class First(Stack):
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)[0]
        return x


class Both(Stack):
    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(())
        for layer in self.layers:
            x, own = layer(x)
            total = total + own
        return x + total


@pytest.mark.parametrize("kind", [First, Both])
def test_results_that_nothing_uses(kind: type[Stack], found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    same(Model("test", kind(Two(), Two(), Two()), (torch.zeros(2, 4),), loss="mse"), TRAINING, monkeypatch)
    assert found == {"Two traced": 2, "Two again": 1}


class Dropping(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


def test_random_numbers_differ(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    same(stack(Dropping(), Dropping()), TRAINING, monkeypatch)
    assert found == {"Dropping refused": 2}


class Checkpointed(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.utils.checkpoint.checkpoint(super().forward, x, use_reentrant=False)
        return out


def test_regions_that_are_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    same(stack(Checkpointed(), Checkpointed()), TRAINING, monkeypatch)


def test_one_module_in_two_places(found: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Scaled()
    model = stack(layer, Scaled(), layer)
    once = Counter(name for name, _ in described(import_model(model, TRAINING).module)[1:])
    without(monkeypatch)
    # The gradients of weight and bias are each a sum of two, and the sums come in another order.
    assert once == Counter(name for name, _ in described(import_model(model, TRAINING).module)[1:])
    assert found == {"Scaled traced": 1, "Scaled again": 2}


class Failing(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) @ torch.zeros(3, 3)


class Counting(Scaled):
    """A layer that changes an input in place, and reads another."""

    def forward(self, x: Tensor, total: Any = None, seen: Any = None) -> Tensor:
        total.add_(1.0)
        return super().forward(x) + seen.sum()


class Shared(Stack):
    """Gives its layers one memory under two views."""

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(4)
        for layer in self.layers:
            x = layer(x, total, total.view(2, 2))
        return x


def test_inputs_that_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    same(Model("test", Shared(Counting(), Counting()), (torch.zeros(2, 4),), loss="mse"), TRAINING, monkeypatch)


def test_an_error_is_told_at_the_users_line() -> None:
    with pytest.raises(step.JogakError) as caught:
        import_model(stack(Failing(), Failing()), TRAINING)
    assert "test_repeated_layers.py" in str(caught.value.where)
