"""A step in micro-batches gives what the step gives, in an order in which the memory of one is free for the next."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest
from torch import Tensor
from torch_mlir import ir

from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.reference import initial_values
from jogak.ir.diagnostics import Diagnostic
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.memory.reading import read_tape
from jogak.memory.tape import lay_out
from jogak.runtime.compare import compare
from jogak.runtime.simulator import execute
from jogak.sharding.annotation import read_arguments
from jogak.sharding.reading import MICRO_BATCH

GPT = "zoo:gpt2?layers=2&heads=2&width=32&vocab=64&context=16&sequence=16&batch=8"
OPTIONS = ImportOptions(Optimizer("adamw"))


@lru_cache
def step(model: str, options: ImportOptions = OPTIONS) -> ir.Module:
    module = import_program(model, options).module
    run_pipeline(module, NORMALIZE)
    return module


def in_micro_batches(model: str, count: int, options: ImportOptions = OPTIONS) -> tuple[ir.Operation, list[Diagnostic]]:
    module = step(model, options).operation.clone()
    pipeline = f"builtin.module(jogak-micro-batch{{count={count}}},canonicalize,cse)"
    return module, list(run_pipeline(module, pipeline).diagnostics)


def run(module: ir.Module | ir.Operation, model: str, options: ImportOptions = OPTIONS) -> dict[str, Tensor]:
    values = initial_values(model, options)
    if "target" in values:
        values["target"][::3] = -100  # labels that the mean leaves out, not the same number in each micro-batch
    arguments = read_arguments(main_function(module).operation)
    return execute(module, {each.name: values[each.name].reshape(each.shape) for each in arguments}, precision="f64")


BATCH_NORMALIZATION = "zoo:resnet?depth=18&width=4&image=16&classes=8&batch=4"
MIXTURE = "zoo:moe?layers=1&heads=2&width=16&hidden=16&experts=4&vocab=32&sequence=8&batch=4"
CASES = [
    pytest.param(GPT, 2, id="gpt2-2", marks=pytest.mark.slow),
    pytest.param(GPT, 4, id="gpt2-4"),
    pytest.param(BATCH_NORMALIZATION, 2, id="batch normalization", marks=pytest.mark.slow),
    pytest.param(MIXTURE, 2, id="mixture", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("model", "count"), CASES)
def test_results_are_those_of_the_whole_batch(model: str, count: int) -> None:
    module, _ = in_micro_batches(model, count)
    assert largest_error(module, model) < 1e-7


def largest_error(module: ir.Operation, model: str) -> float:
    values = initial_values(model, OPTIONS)
    found = compare(run(step(model), model), run(module, model), values, OPTIONS.optimizer, "f64")
    return max(each.relative for each in found.values())


OWN = """
import torch
from torch import nn
from torch.nn import functional as F

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 7)

    def forward(self, x, target):
        return F.cross_entropy(self.layer(x), target)

def own():
    return Own(), (torch.randn(8, 5), torch.randint(0, 7, (8,)))
"""


def test_a_loss_of_the_model_s_own_divides_by_all_labels_that_count(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    model = f"{tmp_path / 'own.py'}:own"
    module, _ = in_micro_batches(model, 4)
    assert largest_error(module, model) < 1e-7


RANDOM = """
import torch
from torch import nn

class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.second = nn.Linear(5, 16), nn.Dropout(0.4), nn.Linear(16, 1)

    def forward(self, x):
        return self.second(self.drop(self.first(x))).square().mean()

def random():
    return Random(), (torch.randn(8, 5),)
"""


def test_a_row_draws_the_same_in_any_micro_batch(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text(RANDOM)
    model = f"{tmp_path / 'random.py'}:random"
    module, _ = in_micro_batches(model, 4)
    assert largest_error(module, model) < 1e-7


@pytest.mark.slow
def test_the_activations_of_one_are_dead_before_the_next() -> None:
    peaks = {}
    for count in (1, 2, 4, 8):
        module, _ = in_micro_batches(GPT, count)
        tape = read_tape(main_function(module).operation).tape
        peaks[count] = lay_out(tape).peak - tape.resident
    assert peaks[8] < peaks[4] < 0.75 * peaks[2] < 0.5 * peaks[1]


def test_every_op_comes_once_for_each_micro_batch_and_the_update_once() -> None:
    module, told = in_micro_batches(GPT, 4)
    ops = [view.operation for view in main_function(module).operation.regions[0].blocks[0].operations]
    parts = [tuple(ir.DenseI64ArrayAttr(op.attributes[MICRO_BATCH])) for op in ops if MICRO_BATCH in op.attributes]
    times = Counter(number for _, number in parts)
    assert set(times.values()) == {3, 4}, "sums have one addition less than there are micro-batches"
    model = [op for op in ops if MICRO_BATCH in op.attributes and "loss" not in str(op.location)]
    turns = [next(iter(ir.DenseI64ArrayAttr(op.attributes[MICRO_BATCH]))) for op in model]
    assert turns == sorted(turns), "only the labels are counted before their turn"
    assert not told
    updates = [op for op in ops if "optimizer" in str(op.location) and MICRO_BATCH in op.attributes]
    assert not updates


@pytest.mark.slow
def test_batch_normalization_is_told() -> None:
    _, (told,) = in_micro_batches(BATCH_NORMALIZATION, 2)
    assert "meet before their ends" in told.message
    assert any("bn" in each.location.scope for each in told.notes)


@pytest.mark.slow
def test_sixteen_bit_gradients_are_summed_in_f32() -> None:
    options = ImportOptions(Optimizer("sgd"), autocast="bf16")
    module, _ = in_micro_batches(GPT, 4, options)
    block = main_function(module).operation.regions[0].blocks[0]
    tagged = [view.operation for view in block.operations if MICRO_BATCH in view.operation.attributes]
    sums = [op for op in tagged if _adds(op)]
    assert sums
    assert {str(ir.RankedTensorType(op.results[0].type).element_type) for op in sums} <= {"f32", "i64"}


def _adds(op: ir.Operation) -> bool:
    if op.name != "linalg.generic" or "reduction" in str(op.attributes["iterator_types"]):
        return False
    inner = [view.operation for view in op.regions[0].blocks[0].operations]
    return [each.name for each in inner if each.name != "arith.extf"] == ["arith.addf", "linalg.yield"]
