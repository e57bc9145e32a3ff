"""A module on other tensors than its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jogak.ingress.model import Model
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.stateless import swapped
from jogak.ingress.trace import trace_model


class Twice(nn.Module):
    """One layer under two names, one weight in two layers, and a buffer that is replaced."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.layers = nn.ModuleList([self.first, nn.Linear(4, 4, bias=False), self.first])
        self.layers[1].weight = self.first.weight
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def test_swaps_and_puts_back() -> None:
    module = Twice()
    own = dict([*module.named_parameters(), *module.named_buffers()])
    assert list(own) == ["first.weight", "first.bias", "count"]
    state = {name: torch.full_like(value, 2.0) for name, value in own.items()}
    given = dict(state)
    with swapped(module, state):
        assert module.layers[2].weight is module.layers[1].weight is given["first.weight"]
        module(torch.zeros(2, 4))
    assert state["first.weight"] is given["first.weight"]
    assert float(state["count"]) == 3.0
    assert all(value is own[name] for name, value in [*module.named_parameters(), *module.named_buffers()])
    assert module.layers[1].weight is own["first.weight"]


def test_a_layer_under_two_names_is_trained() -> None:
    model = Model("test", Twice(), (torch.zeros(2, 4),), loss="mse")
    program = trace_model(model, ImportOptions(Optimizer("sgd")))
    assert {result.updates for result in program.results} == {None, "first.weight", "first.bias", "count"}
    assert type(model.module.first.weight) is nn.Parameter
