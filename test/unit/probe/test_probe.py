"""The whole measurement, with tiny sizes."""

from __future__ import annotations

import pytest

from jogak.cli.main import main
from jogak.cost.machine_file import read_machine

QUICK = ["--seconds", "0.001", "--scale", "0.02"]


@pytest.mark.slow
def test_probe_writes_a_valid_machine_file(tmp_path, capsys):
    path = tmp_path / "here.toml"
    assert main(["machine", "probe", "--nproc", "2", *QUICK, "-o", str(path)]) == 0
    machine = read_machine(path)
    assert "2 processes" in capsys.readouterr().out
    assert machine.devices == 2
    assert {each.kind for each in machine.measured} == {
        "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send",
    }  # fmt: skip
    assert main(["machine", "validate", str(path)]) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--nproc", "0", "-o", "m.toml"], "--nproc"),
        (["--seconds", "0", "-o", "m.toml"], "--seconds"),
        (["-o", "machine.json"], "ends in .toml"),
    ],
)
def test_wrong_options(options, told, capsys):
    assert main(["machine", "probe", *options]) == 2
    assert told in capsys.readouterr().err


def test_an_existing_file_is_kept(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text("mine")
    assert main(["machine", "probe", "-o", str(path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == "mine"
