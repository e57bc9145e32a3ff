"""`jogak doctor`: whether this installation can do its work."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from jogak.errors import EXIT_OK, EXIT_USER


def doctor() -> int:
    """Check the installation: pinned packages, dialects, plug-ins, optional parts."""
    problems = 0
    for line in requires("jogak") or []:
        requirement, _, marker = line.partition(";")
        if "extra" not in marker:
            problems += _check_package(requirement.strip())
    print(_iree())
    from jogak.ir.context import new_context
    from jogak.registry import default_registry

    new_context()
    print("ok       MLIR context with every dialect")
    print(f"ok       {len(default_registry().passes())} passes from {len(default_registry().plugins)} plug-ins")
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


def _iree() -> str:
    """Whether the optional target iree can be used."""
    try:
        return f"ok       the target iree: iree-base-compiler {version('iree-base-compiler')}"
    except PackageNotFoundError:
        return "optional the target iree is not installed: pip install 'jogak[iree]'"
