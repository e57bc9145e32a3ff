"""A search that is done again for `jogak explain`."""

from __future__ import annotations

from pathlib import Path

import pytest

from jogak.autoshard.joint import NO_LIMIT
from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.module import main_function
from jogak.report.alternatives import search_again
from jogak.report.manifest import load_manifest
from jogak.report.output import write_output

MLP = "zoo:mlp?layers=2&width=32&features=32&classes=8&batch=64"


def test_a_plan_that_was_searched_without_a_limit_is_found_again_without_one(tmp_path: Path) -> None:
    asked = Configuration(MLP, "data=2,model=2", ImportOptions(Optimizer("sgd")), searched="plan")
    made = compile_configuration(asked)
    write_output(made, tmp_path / "out")
    manifest = load_manifest(tmp_path / "out")
    manifest["configuration"]["memory"] = "1KiB"  # in which nothing fits
    manifest["search"]["recomputed_share"] = NO_LIMIT
    again = search_again(main_function(made.program).operation, manifest)
    assert again.outcome.choice is not None
    assert again.outcome.objective == pytest.approx(manifest["search"]["objective"])
