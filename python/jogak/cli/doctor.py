"""`jogak doctor`: whether this installation can do its work."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from jogak.errors import EXIT_OK, EXIT_USER, JogakError

if TYPE_CHECKING:
    from jogak.targets.target import Target


def doctor() -> int:
    """Check the installation: pinned packages, dialects, plug-ins, optional parts."""
    problems = 0
    for line in requires("jogak") or []:
        requirement, _, marker = line.partition(";")
        if "extra" not in marker:
            problems += _check_package(requirement.strip())
    from jogak.ir.context import new_context
    from jogak.registry import default_registry

    new_context()
    registry = default_registry()
    print("ok       MLIR context with every dialect")
    print(f"ok       {len(registry.passes())} passes from {len(registry.plugins)} plug-ins")
    for name in sorted(registry.targets()):
        print(_told(name, registry.target(name)))
    return EXIT_USER if problems else EXIT_OK


def _check_package(requirement: str) -> int:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        print(f"missing  {requirement}: pip install '{requirement}'")
        return 1
    if not wanted.specifier.contains(found.partition("+")[0], prereleases=True):
        print(f"wrong    {wanted.name} {found}: pip install '{requirement}'")
        return 1
    print(f"ok       {wanted.name} {found}")
    return 0


def _told(name: str, target: Target) -> str:
    """Whether a target can be used; none of them has to be."""
    try:
        target.require()
    except JogakError as error:
        return f"optional target {name}: {error.message}: {error.hint}"
    return f"ok       target {name}"
