"""The comparison with Shardy: our side on programs of StableHLO, and both sides where the peer's environment exists."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from jogak.testing.shardy import compare

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = """
func.func @main(%a: tensor<512x256xf32>, %b: tensor<256x128xf32>) -> tensor<512x128xf32> {
  %0 = stablehlo.dot_general %a, %b, contracting_dims = [1] x [0] : (tensor<512x256xf32>, tensor<256x128xf32>) -> tensor<512x128xf32>
  return %0 : tensor<512x128xf32>
}"""  # noqa: E501


def test_bytes_are_those_that_a_device_receives():
    entry = {
        "name": "dot of S3", "mesh": [["x", 4], ["y", 2]], "inputs": ["[x, y]", "[y, x]"], "results": ["[x, _]"],
        "stablehlo": PRODUCT, "shardy": {"all_gather": [(65536, 4)], "all_reduce": [(65536, 2)]},
    }  # fmt: skip
    found = compare(entry, check=True)
    assert found.ours == {"all_gather": (1, 49152), "all_reduce": (1, 65536)}
    assert found.bytes == (114688, 114688)
    assert not found.wrong


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_shardy", ROOT / "bench" / "shardy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_shardy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_no_more_bytes_than_shardy(bench):
    python = bench.DEFAULT / "bin" / "python"
    if not python.exists():
        pytest.skip("the environment with JAX is missing: python bench/shardy.py makes it")
    found = [compare(entry, check=False) for entry in bench.entries(python, ["mlp", "attention", "softmax"])]
    assert len(found) >= 10
    assert [each.name for each in found if each.bytes[0] > each.bytes[1]] == []
