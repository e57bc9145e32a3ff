"""`torch.compile(backend="jogak")`: equal to eager in one process and in several; what it says where it cannot help."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import start_processes

from jogak.compiler import Compilation
from jogak.errors import JogakError
from jogak.targets.distributed.launch import environment
from jogak.targets.torch import resident
from jogak.targets.torch.dynamo import backend
from jogak.testing.forked import forked

MEGATRON = {"x": "[_, _]", "first.weight": "[model, _]", "second.weight": "[_, model]"}


class Net(nn.Module):
    """Two layers; two outputs, one of which keeps the split of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.second = nn.Linear(32, 16)
        self.norm = nn.BatchNorm1d(16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.first(x))
        return self.norm(self.second(hidden)), hidden


def equal(mesh: str, shard: dict[str, str]) -> None:
    """Compare with eager, also after a weight has changed."""
    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(6, 16)
    compiled: Any = torch.compile(net, backend="jogak", options={"mesh": mesh, "shard": shard})
    with torch.no_grad():
        for _ in range(2):
            for found, expected in zip(compiled(x), net(x), strict=True):
                torch.testing.assert_close(found, expected)
            net.first.weight.mul_(2)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()


def test_one_process_runs_every_device_on_the_simulator() -> None:
    with pytest.warns(UserWarning, match="torchrun --nproc-per-node 2"):
        equal("model=2", MEGATRON)


SUB_AXES = {"x": "[_, _]", "first.weight": "[model:(1)2, _]", "second.weight": "[_, model]"}


def test_parts_of_an_axis_run_on_the_simulator() -> None:
    with pytest.warns(UserWarning, match="torchrun --nproc-per-node 4"):
        equal("model=4", SUB_AXES)


def test_only_weights_that_changed_are_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[set[str]] = []
    take = resident._Simulated.take

    def noted(self: resident._Simulated, values: dict[str, Tensor]) -> None:
        taken.append(set(values))
        take(self, values)

    monkeypatch.setattr(resident._Simulated, "take", noted)
    with pytest.warns(UserWarning, match="on the simulator"):
        equal("model=2", MEGATRON)
    first, second = taken
    assert first > second == {"first.weight"}


def meet(rank: int, folder: str) -> None:
    """What one process of the test below does: rank 0 fails in a way that nobody expects."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)

    def make() -> Compilation:
        raise ZeroDivisionError("a bug")

    with pytest.raises(Exception, match="a bug") as caught:
        resident._shared(make)
    assert caught.type is (JogakError if rank else ZeroDivisionError)
    dist.destroy_process_group()


def test_no_rank_waits_for_a_plan_that_cannot_be_made(tmp_path: Path) -> None:
    start_processes(meet, (str(tmp_path),), nprocs=2, start_method="fork")


@pytest.mark.slow
def test_every_rank_gets_whole_outputs(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    here = str(Path(__file__).parent)
    script.write_text(
        f"import sys; sys.path.insert(0, {here!r})\n"
        "from test_torch_dynamo import MEGATRON, SUB_AXES, equal\n"
        "equal('data=2,model=2', {**MEGATRON, 'x': '[data, _]'})\n"
        "equal('model=4', SUB_AXES)\n"
        "equal('data=4', {'x': '[data, _]'})\n",  # 6 rows on 4 devices: padded
        encoding="utf-8",
    )
    done = subprocess.run(
        forked(4, str(script)), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def refused(net: nn.Module, x: Tensor, words: str, *, grad: bool = False, **kinds: Any) -> None:
    compiled = torch.compile(net, backend=backend, options={"mesh": "data=2"} | kinds.pop("options", {}), **kinds)
    with torch.set_grad_enabled(grad), pytest.raises(Exception, match=words):
        compiled(x)


def test_what_it_cannot_do_is_said() -> None:
    x = torch.randn(4, 16)
    refused(Net(), x, "gradients are asked for", grad=True)
    refused(Net().eval(), x, "shape is dynamic", dynamic=True)
    refused(Net().eval(), x, "unknown option", options={"mseh": "data=2"})
    refused(Net().train(), x, "changes its buffers")


class Broken(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.first(x)
        print(float(hidden.sum()))
        return self.second(hidden), hidden


def test_a_graph_break_is_said() -> None:
    refused(Broken(), torch.randn(4, 16), "cut by a graph break")
