"""The manifest: everything that a compilation decided and promised.

It is deterministic JSON: the same input gives the same bytes, except under keys named `seconds`.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_mlir import ir

from jogak.cost.element import element_size
from jogak.errors import JogakError
from jogak.ir.module import main_function, print_module
from jogak.ir.structured import element_of, shape_of
from jogak.report.promise import Promise
from jogak.sharding.annotation import SHARDING, read_arguments
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import argument_attributes, result_attributes
from jogak.sharding.sharding import Sharding

if TYPE_CHECKING:
    from torch import Tensor

    from jogak.compiler import Compilation

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
PROGRAM = "program.mlir"
DEVICE = "device.mlir"
MEMORY = "memory.json"
_AGAIN = "compile the model again"
_READ = (
    "configuration", "mesh", "arguments", "results", "modules", "weights", "reference", "predicted", "search", "remat",
    "coverage", "phases",
)  # fmt: skip
"""What other commands need from a manifest."""
_TOOLS = ("jogak", "torch", "torch-mlir")


def build_manifest(made: Compilation) -> dict[str, Any]:
    """The manifest of a finished compilation; its keys are those of `docs/manifest.schema.json`."""
    function = main_function(made.program).operation
    arguments = _arguments(function, made.mesh)
    return {
        "schema_version": SCHEMA_VERSION,
        "tools": {"python": platform.python_version(), **{name: _version(name) for name in _TOOLS}},
        "input_sha256": _input_hash(made),
        "configuration": made.configuration.to_json(),
        "mesh": made.mesh.to_json(),
        "arguments": arguments,
        "results": _results(function, made.mesh, arguments),
        "padding": _padding(function, made.mesh),
        "modules": {"program": PROGRAM, "device": DEVICE, "devices": made.mesh.devices},
        "weights": {"seed": made.configuration.options.seed, "files": list(tensor_files(made))},
        "reference": "pytorch" if made.reference else "program",
        "predicted": _predicted(made.promise or Promise(), made),
        "search": None if made.search is None else made.search.to_json(),
        "remat": made.remat,
        "micro_batches": [each.to_json() for each in made.micro_batches],
        "phases": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in made.seconds.items()],
        "coverage": made.coverage.to_json() if made.coverage else None,
        "warnings": [diagnostic.render() for diagnostic in made.diagnostics],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _input_hash(made: Compilation) -> str:
    """SHA-256 of the program that is compiled, weights aside."""
    return hashlib.sha256(print_module(made.program, elide=None).encode()).hexdigest()


def _arguments(function: ir.Operation, mesh: Mesh) -> list[dict[str, Any]]:
    block = function.regions[0].blocks[0]
    described = []
    for value, argument, attributes in zip(
        block.arguments, read_arguments(function), argument_attributes(function), strict=True
    ):
        entry = _tensor(value, attributes, mesh) | argument.layout()
        described.append({"name": argument.name, "role": argument.role, **entry})
    return described


def _results(function: ir.Operation, mesh: Mesh, arguments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    returned = list(list(function.regions[0].blocks[0].operations)[-1].operands)
    described: list[dict[str, Any]] = []
    for number, (value, attributes) in enumerate(zip(returned, result_attributes(function), strict=True)):
        entry: dict[str, Any] = {
            "name": _text(attributes, "jogak.name", f"result{number}"),
            "role": _text(attributes, "jogak.role", "output"),
            **_tensor(value, attributes, mesh),
        }
        if "jogak.updates" in attributes:
            entry["updates"] = int(ir.IntegerAttr(attributes["jogak.updates"]).value)
            updated = arguments[entry["updates"]]
            entry |= {key: updated[key] for key in ("logical_shape", "shares") if key in updated}
        described.append(entry)
    return described


def _tensor(value: ir.Value, attributes: ir.DictAttr, mesh: Mesh) -> dict[str, Any]:
    shape = shape_of(value)
    sharding = _sharding(attributes, len(shape), mesh).complete()
    padded = sharding.padded_shape(shape, mesh)
    return {
        "element": element_of(value),
        "shape": list(shape),
        "local_shape": list(sharding.local_shape(shape, mesh)),
        **({"padded_shape": list(padded)} if padded != shape else {}),
        "sharding": str(sharding.told(mesh)),
    }


def _padding(function: ir.Operation, mesh: Mesh) -> dict[str, Any]:
    """How much of what the devices hold of the arguments is padding, since the mesh does not divide their sizes."""
    held = added = 0
    for value, attributes in zip(function.regions[0].blocks[0].arguments, argument_attributes(function), strict=True):
        shape = shape_of(value)
        sharding = _sharding(attributes, len(shape), mesh)
        width = element_size(element_of(value))
        own = prod(sharding.padded_shape(shape, mesh))
        held += own * width
        added += (own - prod(shape)) * width
    return {"bytes": added, "share": round(added / held, 6) if held else 0.0}


def _sharding(attributes: ir.DictAttr, rank: int, mesh: Mesh) -> Sharding:
    return Sharding.parse(_text(attributes, SHARDING, str(Sharding.replicated(rank)))).on(mesh)


def _text(attributes: ir.DictAttr, key: str, default: str) -> str:
    return str(ir.StringAttr(attributes[key]).value) if key in attributes else default


def tensor_files(made: Compilation) -> dict[str, Mapping[str, Tensor]]:
    """The safetensors files of an output folder: name to content. What is in none of them is drawn from the seed."""
    held = {"weights/parameters.safetensors": made.weights, "weights/inputs.safetensors": made.inputs}
    return {name: values for name, values in held.items() if values is not None}


def _predicted(promise: Promise, made: Compilation) -> dict[str, Any]:
    return {
        "step_time_s": promise.step_time_s,
        "compute_time_s": promise.compute_time_s,
        "communication_time_s": promise.communication_time_s,
        "peak_memory_bytes": promise.peak_memory_bytes,
        "collectives": promise.collectives,
        "flops": promise.flops,
        "machine": {"cost_model": made.configuration.cost_model, **made.cost.machine.effective(made.mesh)},
    }


def dump(manifest: Mapping[str, Any]) -> str:
    """The text of a manifest."""
    return json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"


def load_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of an output folder.

    Raises:
        JogakError: the folder is missing, is not a complete output of `jogak compile`, or is of another schema version.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise JogakError("there is no such folder", where=str(folder), hint="jogak compile MODEL -o DIR makes one")
    if not path.is_file():
        raise JogakError(
            "the folder holds no manifest.json: it is not a finished output of jogak compile",
            where=str(folder),
            hint="run jogak compile MODEL -o DIR again",
        )
    manifest = _read(path)
    found = manifest.get("schema_version")
    if found != SCHEMA_VERSION:
        raise JogakError(
            f"the manifest has schema version {found}, this is {SCHEMA_VERSION}",
            where=str(path),
            hint="compile the model again with this version of Jogak",
        )
    missing = [key for key in _READ if key not in manifest]
    if missing:
        raise JogakError(f"the manifest lacks {missing[0]!r}", where=str(path), hint=_AGAIN)
    return manifest


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise JogakError(f"not valid JSON: {error}", where=str(path), hint=_AGAIN) from None
    except OSError as error:
        raise JogakError(f"cannot be read: {error.strerror}", where=str(path), hint="check its permissions") from None
    if not isinstance(manifest, dict):
        raise JogakError("the manifest is no JSON object", where=str(path), hint=_AGAIN)
    return manifest


def file_of(folder: Path, name: str) -> Path:
    """A file that the manifest of an output folder names.

    Raises:
        JogakError: it is missing.
    """
    path = folder / name
    if not path.is_file():
        raise JogakError("the file is missing from the output folder", where=str(path), hint=_AGAIN)
    return path
