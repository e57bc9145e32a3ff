"""Imports that are shared: the same program to everybody, a copy to each, and nothing kept of what may change."""

from __future__ import annotations

from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.module import main_function, print_module
from jogak.testing.imports import once

MLP = "zoo:mlp?layers=1&width=4&features=4&classes=2&batch=2"
PROGRAM = "func.func @main(%a: tensor<{0}xf32>) -> tensor<{0}xf32> {{ return %a : tensor<{0}xf32> }}"


def test_a_model_is_imported_once_and_changes_reach_nobody_else():
    asked = []

    def counted(spec, options):
        asked.append((spec, options))
        return import_program(spec, options)

    imported, options = once(counted), ImportOptions(Optimizer("sgd"))
    expected = print_module(import_program(MLP, options).module)
    first = imported(MLP, options)
    main_function(first.module).operation.erase()
    assert print_module(imported(MLP, options).module) == expected
    imported(MLP, ImportOptions())
    assert asked == [(MLP, options), (MLP, ImportOptions())]


def test_a_file_is_read_each_time(tmp_path):
    path = tmp_path / "program.mlir"
    imported = once(import_program)
    for size in (4, 8):
        path.write_text(PROGRAM.format(size), encoding="utf-8")
        assert f"tensor<{size}xf32>" in print_module(imported(str(path), ImportOptions()).module)
