"""Models whose best communication is known in closed form: those of Alpa's published tests, as PyTorch models.

Each function returns (module, args); a module with a target returns its loss. Alpa's cost assumptions are in
`bench/machines/alpa.toml`; contractions may not be repeated on several devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jogak.autoshard.plan import SearchOptions, search_plan
from jogak.autoshard.solving import Outcome
from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.ingress.importer import import_model
from jogak.ingress.model import Model
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.registry import default_registry
from jogak.sharding.annotation import read_arguments, read_constraints, write_constraints
from jogak.sharding.constraints import Constraint, resolve
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import read_graph
from jogak.testing.count_models import Attention, Mlp, Stack

Built = tuple[nn.Module, tuple[Tensor, ...]]


def mlp(layers: int, batch: int, width: int, bias: bool = False) -> Built:
    return Mlp(layers, width, bias), (torch.empty(batch, width), torch.empty(batch, width))


def bert(layers: int, batch: int, length: int, width: int, heads: int, again: bool = False) -> Built:
    shape = (batch, length, width)
    return Stack(layers, width, heads, again), (torch.empty(shape), torch.empty(shape))


def attention() -> Built:
    return Attention(512, 16), (torch.empty(4, 128, 512),)


class Product(nn.Module):
    """A product of two matrices, each behind a transpose or a reshape."""

    def __init__(self, reshaped: bool) -> None:
        super().__init__()
        self.reshaped = reshaped

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        if self.reshaped:
            return left.reshape(128, 2048) @ right.reshape(2048, 128)
        return left.transpose(0, 1) @ right.transpose(0, 1)


def behind_transposes() -> Built:
    return Product(reshaped=False), (torch.empty(2048, 128), torch.empty(128, 2048))


def behind_reshapes() -> Built:
    return Product(reshaped=True), (torch.empty(128, 32, 64), torch.empty(32, 64, 128))


def all_reduce(bytes_: float, devices: int = 4, latency: float = 1.0, bandwidth: float = 1.0) -> float:
    """Alpa's price of an all-reduce; its alpha is the latency, its beta one over the bandwidth."""
    return latency + 2 * (devices - 1) / devices * bytes_ / bandwidth + 0.01


@dataclass(frozen=True)
class Form:
    """A model and what its cheapest plan communicates.

    Attributes:
        what: the program, for people.
        build: the model.
        known: the published cost.
        train: whether it is a training step.
        constraints: what is given.
    """

    what: str
    build: Callable[[], Built]
    known: float
    train: bool = True
    constraints: tuple[str, ...] = ()


FORMS: Mapping[str, Form] = {
    "A1": Form("2-layer MLP, batch 1024, width 128", lambda: mlp(2, 1024, 128), 2 * all_reduce(128 * 128 * 4)),
    "A2": Form("2-layer MLP, batch 128, width 1024", lambda: mlp(2, 128, 1024), all_reduce(128 * 1024 * 4)),
    "A3": Form(
        "A2, the batch given as sharded and the weights as whole",
        lambda: mlp(2, 128, 1024),
        2 * all_reduce(1024 * 1024 * 4),
        constraints=("x=[data, _]", "target=[data, _]", "layers.*.weight=[_, _]"),
    ),
    "A4": Form("12-layer MLP, batch 1024, width 128", lambda: mlp(12, 1024, 128), 12 * all_reduce(128 * 128 * 4)),
    "A5": Form("12-layer MLP, batch 128, width 1024", lambda: mlp(12, 128, 1024), 11 * all_reduce(128 * 1024 * 4)),
    "A8": Form(
        "A1 with biases", lambda: mlp(2, 1024, 128, True), 2 * all_reduce(128 * 128 * 4) + 2 * all_reduce(128 * 4)
    ),
    "A9": Form("attention forward", attention, all_reduce(4 * 128 * 512 * 4), train=False),
    "A11": Form(
        "product behind transposes, the contraction given as split",
        behind_transposes,
        all_reduce(128 * 128 * 4),
        train=False,
        constraints=("left=[data, _]", "right=[_, data]"),
    ),
    "A11 reshape": Form(
        "the same behind reshapes",
        behind_reshapes,
        all_reduce(128 * 128 * 4),
        train=False,
        constraints=("left=[_, data, _]", "right=[data, _, _]"),
    ),
    "A13": Form("6-layer MLP, batch 32, width 256", lambda: mlp(6, 32, 256), 5 * all_reduce(32 * 256 * 4)),
    "A15": Form("2 BERT layers, 8 x 8 x 128", lambda: bert(2, 8, 8, 128, 8), 7 * all_reduce(8 * 8 * 128 * 4)),
    "A16": Form(
        "A15, each layer under torch.utils.checkpoint",
        lambda: bert(2, 8, 8, 128, 8, again=True),
        11 * all_reduce(8 * 8 * 128 * 4),
    ),
}

_BUCKET = "gradients travel in one bucket, whose single latency the objective leaves out"
WHY: Mapping[str, str] = {
    "A1": _BUCKET,
    "A4": _BUCKET,
    "A8": _BUCKET,
    "A3": "Alpa forbids gathers here; a gather of the batch for the second layer is cheaper than its all-reduce",
    "A16": "what follows the last product of a layer stays split until all that need the whole share one gather",
    "A9": "Alpa wants the output whole and forbids gathers; without that, splitting the batch costs nothing",
}
"""Where our number is not the published one, the reason."""


def search_form(form: Form, machine: str, mesh: str = "data=4") -> Outcome:
    """Import, normalize and search a form; the outcome is in Alpa's units of cost."""
    module, args = form.build()
    options = ImportOptions(Optimizer("sgd") if form.train else None)
    program = import_model(Model(form.what, module, args, {}), options).module
    run_pipeline(program, NORMALIZE)
    function = main_function(program).operation
    devices = Mesh.parse(mesh)
    given = resolve([Constraint.parse(text) for text in form.constraints], read_arguments(function), devices)
    write_constraints(function, given)
    reading = read_graph(function, default_registry().rules())
    seeds = read_constraints(function, reading, devices)
    graph = reading.graph
    if form.train:  # Alpa's step returns the new weights alone: the loss is computed, and nobody needs the whole of it
        graph.results = tuple(value if at in graph.updates else None for at, value in enumerate(graph.results))
    cost = Roofline(load_machine(machine), devices)
    return search_plan(graph, cost, seeds, SearchOptions(split_heavy=True, time_limit=10))[1]
