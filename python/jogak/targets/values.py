"""Values in an output folder, for targets whose processes do not have Jogak to draw them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from jogak.configuration import Configuration
from jogak.ir.diagnostics import Diagnostic, Severity, SourceLocation
from jogak.registry import registry_of
from jogak.report.manifest import build_manifest
from jogak.runtime.types import dtype_of
from jogak.runtime.values import seeded_values
from jogak.text import size

if TYPE_CHECKING:
    from jogak.compiler import Compilation
    from jogak.targets.target import Target

_MOST = 8 << 30
"""Bytes of drawn weights that are written without being asked for."""


def target_of(manifest: Mapping[str, Any], name: str | None = None) -> Target:
    """The target of an output folder: the one that it was compiled for, or the one that is named.

    Raises:
        UsageError: there is none of this name.
    """
    configuration = Configuration.from_json(manifest["configuration"])
    return registry_of(configuration.plugins).target(name or configuration.target)


def complete_values(made: Compilation) -> None:
    """Add what the compilation does not have yet: drawn weights, example inputs. Weights too large to be drawn without
    need are left out, with a warning.
    """
    manifest = build_manifest(made)
    arguments = [each for each in manifest["arguments"] if each["role"] != "optimizer_state"]
    needed = sum(prod(each["shape"]) * dtype_of(each["element"]).itemsize for each in arguments)
    if needed > _MOST:
        message = f"the {size(needed)} of values that the seed gives are not written"
        hint = "give --values when you run it"
        made.diagnostics.append(
            Diagnostic(Severity.WARNING, message, SourceLocation(scope=made.configuration.model), hint=hint)
        )
        return
    values = seeded_values(manifest) | dict(made.weights or {}) | dict(made.inputs or {})
    held = {each["name"]: values[each["name"]].detach() for each in arguments}
    inputs = {each["name"] for each in arguments if each["role"] == "input"}
    made.inputs = made.inputs or {name: value for name, value in held.items() if name in inputs}
    made.weights = made.weights or {name: value for name, value in held.items() if name not in inputs}
