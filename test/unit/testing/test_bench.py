"""The benchmark's bookkeeping; the times themselves are nobody's assertion."""

from __future__ import annotations

from jogak.testing import bench


def test_unknown_case_is_answered_with_the_nearest(capsys):
    assert bench.main(["mlpp"]) == 1
    assert "did you mean 'mlp'?" in capsys.readouterr().err


def test_failed_compilation_is_a_row_with_its_exit_code():
    row = bench.measure("missing", ["zoo:no_such_model", "--mesh", "data=2"])
    assert row["exit_code"] == 1
    assert row["peak_memory_bytes"] > 1 << 20
    assert "phases" not in row
