"""Regions under torch.utils.checkpoint: computed again in the backward pass, on the program's own arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.barrier import BARRIER
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.memory.attributes import RECOMPUTE_OF
from jogak.report.promise import Promise
from jogak.testing.equality import Case, check

MODEL = """
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)
        self.dropout = dropout

    def forward(self, x):
        return x + self.down(F.dropout(torch.tanh(self.up(self.norm(x))), self.dropout, self.training))


class Model(nn.Module):
    def __init__(self, way, dropout=0.2):
        super().__init__()
        self.way = way
        self.first, self.blocks = nn.Linear(16, 16), nn.ModuleList(Block(dropout) for _ in range(2))
        self.head = nn.Linear(16, 8)

    def both(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return x

    def forward(self, x):
        x = self.first(x)
        if self.way == "nested":
            x = checkpoint(self.both, x, use_reentrant=False)
        else:
            for block in self.blocks:
                x = block(x) if self.way == "plain" else checkpoint(block, x, use_reentrant=self.way == "reentrant")
        return (self.head(F.dropout(x, 0.1, self.training)) ** 2).mean()


def made(way, dropout=0.2):
    return Model(way, dropout), (torch.randn(8, 16),)


def plain():
    return made("plain")


def region():
    return made("region")


def reentrant():
    return made("reentrant")


def nested():
    return made("nested")


def wide():
    return Model("region", 0.0), (torch.randn(512, 16),)


def wide_plain():
    return Model("plain", 0.0), (torch.randn(512, 16),)
"""

SGD = ImportOptions(Optimizer("sgd"))
WAYS = ("region", "reentrant", "nested")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "checkpointed.py"
    path.write_text(MODEL)
    return path


def _ops(spec: str, options: ImportOptions = SGD):
    module = import_program(spec, options).module
    run_pipeline(module, NORMALIZE)
    function = main_function(module).operation
    return module, [view.operation for view in function.regions[0].blocks[0].operations]


def _products(ops) -> int:
    return sum("arith.mulf" in str(op) and "reduction" in str(op.attributes["iterator_types"]) for op in ops
               if op.name == "linalg.generic")  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_those_of_pytorch_dropout_included(compare, file, way):
    compare(f"{file}:{way}", ImportOptions(Optimizer("adamw")))


@pytest.mark.parametrize("way", WAYS)
def test_second_runs_stay_and_read_arguments_and_no_constants(file, way):
    (_kept, plain), (module, ops) = _ops(f"{file}:plain"), _ops(f"{file}:{way}")
    assert "constant." not in str(module)
    assert any(op.name == BARRIER for op in ops)
    assert not any(op.name == BARRIER for op in plain)
    assert _products(ops) > _products(plain)  # of each block the first product, and the statistics of its norm


def test_second_runs_know_the_line_of_the_user(file):
    _kept, ops = _ops(f"{file}:region")
    barrier = next(index for index, op in enumerate(ops) if op.name == BARRIER)
    after = [str(op.location) for op in ops[barrier:] if op.name == "linalg.generic"]
    line = next(number for number, text in enumerate(MODEL.splitlines(), 1) if "self.down(F.dropout" in text)
    assert any(f'checkpointed.py":{line}' in place for place in after)


def test_inference_runs_a_region_once(file):
    _kept, ops = _ops(f"{file}:region", ImportOptions())
    assert not any(op.name == BARRIER for op in ops)


@pytest.mark.parametrize("mesh", ["data=2,model=2", "data=4"])
def test_sharded_equals_pytorch(file, mesh):
    verdict = check(Case(f"{file}:region", True, mesh, "mixed"))
    assert verdict.error < 1e-5
    assert verdict.promised == verdict.counted


def _promise(spec: str) -> tuple[Promise, str]:
    made = compile_configuration(Configuration(spec, "data=2", SGD, constraints=(("x=[data, _]", "test"),)))
    assert made.promise is not None
    assert made.device is not None
    return made.promise, str(made.device)


def test_the_program_of_a_device_needs_less_memory_and_marks_what_it_repeats(file):
    repeated, text = _promise(f"{file}:wide")
    plain, other = _promise(f"{file}:wide_plain")
    assert repeated.peak_memory_bytes < plain.peak_memory_bytes
    assert BARRIER not in text
    assert RECOMPUTE_OF in text
    assert RECOMPUTE_OF not in other
