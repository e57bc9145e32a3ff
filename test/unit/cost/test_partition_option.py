"""The option `machine` of `jogak-partition`: which of two equivalent ways is taken depends on it."""

from __future__ import annotations

import pytest

from jogak.errors import JogakError
from jogak.ir.pass_manager import run_pipeline

PROGRAM = """
shard.grid @mesh(shape = 2x2) {jogak.axes = ["a", "b"]}
func.func @main(
  %arg0: tensor<64x64xf32> {jogak.sharding = "[a b, _]"}
) -> tensor<64x64xf32> {
  %0 = tensor.empty() : tensor<64x64xf32>
  %1 = linalg.generic {
    indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%arg0 : tensor<64x64xf32>) outs(%0 : tensor<64x64xf32>) attrs = {jogak.sharding = ["[_, a b]"]} {
  ^bb0(%in: f32, %out: f32):
    %2 = arith.addf %in, %in : f32
    linalg.yield %2 : f32
  } -> tensor<64x64xf32>
  return %1 : tensor<64x64xf32>
}
"""


def collectives(module) -> list[str]:
    function = next(op for op in module.body.operations if op.operation.name == "func.func")
    return [op.operation.name for op in function.regions[0].blocks[0].operations if "shard.all" in op.operation.name]


@pytest.mark.parametrize("option", ["", "{machine=cpu}", "{machine=tpu-v5e cost-model=roofline}"])
def test_presets_are_options(parse, option):
    module = parse(PROGRAM)
    run_pipeline(module, f"builtin.module(jogak-partition{option})")
    assert collectives(module) == ["shard.all_to_all"]


def test_a_machine_of_the_users_own_decides(parse, tmp_path):
    """Where an all-to-all is made to cost ten seconds, a gather and a slice are taken."""
    file = tmp_path / "slow.toml"
    file.write_text(
        'name = "slow"\ndescription = ""\nsources = ["assumed"]\n'
        "[device]\nmemory_bytes = 1000000\nmemory_bandwidth = 1e12\n[device.flops]\nf32 = 1e12\n"
        '[[levels]]\nname = "links"\nbandwidth = 1e9\nlatency = 1e-6\n[collectives.constants]\nall_to_all = 10.0\n'
    )
    module = parse(PROGRAM)
    run_pipeline(module, f"builtin.module(jogak-partition{{machine={file}}})")
    assert "shard.all_to_all" not in collectives(module)
    assert "shard.all_gather" in collectives(module)


def test_an_unknown_machine_is_an_error(parse):
    with pytest.raises(JogakError, match="unknown machine 'a100-80'"):
        run_pipeline(parse(PROGRAM), "builtin.module(jogak-partition{machine=a100-80})")
