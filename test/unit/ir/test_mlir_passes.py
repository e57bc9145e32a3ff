"""The table of MLIR's passes is true for the installed MLIR."""

from __future__ import annotations

import pytest
from torch_mlir.passmanager import PassManager

from jogak.ir import mlir_passes
from jogak.ir.context import new_context
from jogak.testing import probe_mlir_passes


def test_every_pass_of_the_table_can_be_added_where_it_says():
    context = new_context()
    for known in mlir_passes.registered().values():
        PassManager.parse(f"{known.anchor or 'func.func'}({known.name})", context)
        PassManager.parse(f"{known.anchor or 'builtin.module'}({known.name})", context)


def test_options_of_the_table_exist():
    context = new_context()
    for known in mlir_passes.registered().values():
        options = " ".join(f"{name}={option.default}" for name, option in known.options.items() if option.default)
        PassManager.parse(f"{known.anchor or 'builtin.module'}({known.name}{{{options}}})", context)


@pytest.mark.slow
def test_table_is_up_to_date():
    table = {
        name: (each.anchor, each.about, {key: (value.default, value.about) for key, value in each.options.items()})
        for name, each in mlir_passes.registered().items()
    }
    probed = probe_mlir_passes.probe()
    assert table == {name: (row["anchor"], row["about"], row["options"]) for name, row in probed.items()}


def test_help_of_an_opt_tool_is_read():
    text = (
        "OPTIONS:\n  --first                 - not a pass\n    Passes:\n"
        "      --affine-thing          -   Does things\n        --tile=<int>          - Size\n"
        "      --quiet                 -   \n  --verify                - not a pass\n"
    )
    assert probe_mlir_passes.read_help(text) == {
        "affine-thing": {"about": "Does things", "options": {"tile": "Size"}},
        "quiet": {"about": "", "options": {}},
    }
