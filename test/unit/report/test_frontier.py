"""Time against memory: points that a person can rely on, and their picture."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.report.frontier import frontier_points
from jogak.report.frontier_plot import frontier_svg

PROGRAM = """
func.func @main(%x: tensor<16x8xf32>) -> tensor<1x1xf32> {
  %a = tensor.concat dim(0) %x, %x : (tensor<16x8xf32>, tensor<16x8xf32>) -> tensor<32x8xf32>
  %s = tensor.extract_slice %a[0, 3] [32, 1] [1, 1] : tensor<32x8xf32> to tensor<32x1xf32>
  %b = tensor.concat dim(1) %s, %s, %s, %s, %s, %s, %s, %s
    : (tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>, tensor<32x1xf32>,
       tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<32x8xf32>
  %t = tensor.extract_slice %b[0, 3] [8, 1] [1, 1] : tensor<32x8xf32> to tensor<8x1xf32>
  %i = tensor.insert_slice %t into %a[0, 0] [8, 1] [1, 1] : tensor<8x1xf32> into tensor<32x8xf32>
  %r = tensor.extract_slice %i[0, 0] [1, 1] [1, 1] : tensor<32x8xf32> to tensor<1x1xf32>
  return %r : tensor<1x1xf32>
}
"""


@pytest.fixture(scope="module")
def frontier():
    module = ir.Module.parse(PROGRAM, new_context())
    text = str(module)
    found = frontier_points(module, lambda op: 1.0, 4, 2.0)
    assert str(module) == text
    return found


def test_more_memory_never_takes_more_time(frontier):
    points = frontier["points"]
    memory = [point["memory_bytes"] for point in points]
    added = [point["added_time_percent"] for point in points]
    assert memory == sorted(memory)
    assert added == sorted(added, reverse=True)
    assert [added[0] > 0, added[-1]] == [True, 0.0]
    assert frontier["minimum_bound_bytes"] <= memory[0] < memory[-1] == frontier["peak_bytes"]
    assert all(point["lower_bound_percent"] <= point["added_time_percent"] + 1e-9 for point in points)


def test_the_picture_has_every_point(frontier):
    root = ElementTree.fromstring(frontier_svg(frontier))
    marks = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(marks) == 4
    assert all(0 <= float(mark.get("cx")) <= 640 and 0 <= float(mark.get("cy")) <= 360 for mark in marks)
