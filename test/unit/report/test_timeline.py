"""The predicted timeline, and reading what ranks measured."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from torch_mlir import ir

from jogak.cost.machine import Device, Level, Machine
from jogak.cost.model import Roofline
from jogak.errors import JogakError
from jogak.ir.context import new_context
from jogak.ir.module import main_function
from jogak.report.profile import Line, compare, describe, read_lines
from jogak.report.timeline import KERNELS, chrome_trace, end_of, predict, predicted_trace
from jogak.runtime.reader import read_with_ops
from jogak.sharding.mesh import Mesh

PROGRAM = """
shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main(%x: tensor<1000xf32>, %y: tensor<1000xf32>) -> (tensor<1000xf32>, tensor<1000xf32>) {
  %empty = tensor.empty() : tensor<1000xf32>
  %r = shard.all_reduce %x on @mesh grid_axes = [0] : tensor<1000xf32> -> tensor<1000xf32>
  %a = linalg.generic {indexing_maps = [affine_map<(d) -> (d)>, affine_map<(d) -> (d)>], iterator_types = ["parallel"]}
      ins(%y : tensor<1000xf32>) outs(%empty : tensor<1000xf32>) {
  ^bb0(%in: f32, %out: f32):
    %e = math.exp %in : f32
    linalg.yield %e : f32
  } -> tensor<1000xf32>
  %b = linalg.generic {indexing_maps = [affine_map<(d) -> (d)>, affine_map<(d) -> (d)>, affine_map<(d) -> (d)>],
                       iterator_types = ["parallel"]}
      ins(%a, %r : tensor<1000xf32>, tensor<1000xf32>) outs(%empty : tensor<1000xf32>) {
  ^bb0(%in: f32, %other: f32, %out: f32):
    %s = arith.addf %in, %other : f32
    linalg.yield %s : f32
  } -> tensor<1000xf32>
  return %a, %b : tensor<1000xf32>, tensor<1000xf32>
}
"""
MESH = Mesh(("data",), (2,))
MACHINE = Machine("test", Device(1 << 30, 1e6, (("f32", 1e12),)), (Level("links", 1e6, 0.0),))
KERNEL = 8000 / 1e6
SUM = 12000 / 1e6
REDUCE = 4000 / 1e6


@pytest.fixture(scope="module")
def program() -> ir.Module:
    return ir.Module.parse(PROGRAM, new_context())


def function(program: ir.Module) -> ir.Operation:
    return main_function(program).operation


def test_a_collective_runs_beside_kernels(program):
    events = predict(function(program), MESH, Roofline(MACHINE, MESH))
    assert [(each.stream, each.start) for each in events] == [
        ("data", 0.0), (KERNELS, 0.0), (KERNELS, pytest.approx(max(KERNEL, REDUCE))),
    ]  # fmt: skip
    assert end_of(events) == pytest.approx(max(KERNEL, REDUCE) + SUM)


def test_a_kernel_waits_for_what_it_reads(program):
    slow = replace(MACHINE, levels=(Level("links", 1e5, 0.0),))
    events = predict(function(program), MESH, Roofline(slow, MESH))
    assert events[-1].start == pytest.approx(10 * REDUCE)


def test_cores_that_compute_do_one_thing_at_a_time(program):
    events = predict(function(program), MESH, Roofline(replace(MACHINE, overlap=False), MESH))
    assert end_of(events) == pytest.approx(REDUCE + KERNEL + SUM)


def test_the_file_is_a_trace_of_chrome(program):
    text = predicted_trace(function(program), MESH, Roofline(MACHINE, MESH), "model")
    found = json.loads(text)
    spans = [each for each in found["traceEvents"] if each["ph"] == "X"]
    assert len(spans) == 3
    assert spans[0]["args"]["bytes"] == 4000
    assert {each["args"]["name"] for each in found["traceEvents"] if each["name"] == "thread_name"} == {
        "kernels", "collectives on data",
    }  # fmt: skip
    assert text == predicted_trace(function(program), MESH, Roofline(MACHINE, MESH), "model")
    assert json.loads(chrome_trace({}, {}))["traceEvents"] == []


DEVICE = """
def helper_3(arg0):
    x_3 = mesh.all_reduce(arg0)

def main(arguments, constants, mesh):
    (
        x,  # tensor<1000xf32>
        y,  # tensor<1000xf32>
    ) = arguments
    # layer, model.py:3
    all_reduce_3 = mesh.all_reduce(x, ("data",), 'sum')
    exp_4 = torch.exp(y)
    del y
    all_reduce_3 = all_reduce_3.wait()
    add_5_ = exp_4 + all_reduce_3
    slice_6 = mesh.all_slice(add_5_, ("data",), dim=0)
    return [exp_4, add_5_]
"""


def test_lines_of_a_program():
    lines = read_lines(DEVICE)
    at = {text.strip().split(" =")[0]: n for n, text in enumerate(DEVICE.splitlines(), 1) if " = " in text}
    assert min(lines) == DEVICE.splitlines().index("def main(arguments, constants, mesh):") + 1
    assert lines[at["exp_4"]] == Line("compute", (4,), "layer, model.py:3")
    assert lines[at["add_5_"]].values == (5,)
    assert lines[at["slice_6"]].kind == "compute"
    assert [line.kind for line in lines.values() if line.kind != "compute"] == ["start", "wait"]


def test_measured_beside_predicted(program):
    numbers = {op.name: n for n, op in read_with_ops(program)[1].items()}
    ops = read_with_ops(program)[1]
    reduce_, exp, add = sorted(n for n, op in ops.items() if op.name in ("shard.all_reduce", "linalg.generic"))
    assert numbers["shard.all_reduce"] == reduce_
    text = DEVICE.replace("reduce_3", f"reduce_{reduce_}").replace("exp_4", f"exp_{exp}").replace("add_5", f"add_{add}")
    at = {line.strip().split(" =")[0]: n for n, line in enumerate(text.splitlines(), 1)}
    start, wait = (n for n, line in read_lines(text).items() if line.kind != "compute")
    report = {
        "steps": [0.5, 0.7, 0.6],
        "processor": 0.4,
        "lines": [[start, 0.01, 0.01], [at[f"exp_{exp}"], 0.1, 0.05], [wait, 0.02, 0.0], [at[f"add_{add}_"], 0.2, 0.1]],
        "transfers": [["all_reduce", ["data"], 0.3]],
    }
    other = {**report, "steps": [0.7, 0.9, 0.8], "transfers": [["all_reduce", ["data"], 0.5]]}
    found = compare(text, ops, [report, other], MESH, Roofline(MACHINE, MESH))
    assert found.step == (pytest.approx(KERNEL + SUM + REDUCE), pytest.approx(0.7), pytest.approx(0.4))
    (transfer,) = found.transfers
    assert transfer.predicted_s == pytest.approx(REDUCE)
    assert transfer.measured_s == pytest.approx(0.4)
    assert transfer.exposed_s == pytest.approx(0.03)
    assert [each.measured_s for each in found.segments if each.predicted_s] == [pytest.approx(0.1), pytest.approx(0.2)]
    assert found.forms["vector"] == [pytest.approx(KERNEL + SUM), pytest.approx(0.3), pytest.approx(0.15)]
    assert json.loads(json.dumps(found.to_json()))["collectives"][0]["axes"] == "data"
    assert "all_reduce on data, 1 times" in "\n".join(describe(found))
    with pytest.raises(JogakError, match="rank 1 measured 2 collectives, but its program starts 1"):
        compare(text, ops, [report, {**other, "transfers": 2 * other["transfers"]}], MESH, Roofline(MACHINE, MESH))
