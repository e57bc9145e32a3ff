"""Configuration of lit for Jogak's tests on MLIR text; lit provides `config`."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import lit.formats

config.name = "jogak"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test", ".py"]
config.excludes = ["lit.cfg.py", "Inputs"]
config.test_source_root = str(Path(__file__).parent)
config.test_exec_root = os.environ.get("JOGAK_LIT_OUTPUT", str(Path(__file__).parent / "Output"))
config.maxIndividualTestTime = 120

scripts = str(Path(sys.executable).parent)
config.environment["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])
config.environment["HOME"] = os.environ.get("HOME", "")
if "PYTHONPATH" in os.environ:  # the package under test may be another one than the installed one
    config.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]

# PyPI's filecheck takes its options only from the command line. Variables end with their CHECK-LABEL.
config.substitutions += [("FileCheck", "filecheck --enable-var-scope"), ("%python", sys.executable)]
config.available_features.update(name for name in ("torch", "jax", "onnx") if find_spec(name))
