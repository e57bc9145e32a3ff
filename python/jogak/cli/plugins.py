"""`jogak plugins`: what is installed and what it brings."""

from __future__ import annotations

from typing import Annotated

import typer


def plugins(
    load_plugin: Annotated[list[str] | None, typer.Option(help="also look at a .py file or a module")] = None,
) -> int:
    """List the plug-ins with their passes, sharding rules, cost models and targets."""
    from jogak.registry import Registry, default_registry

    known = default_registry()
    registry = Registry(dict(known.plugins), dict(known.origins))
    for source in load_plugin or []:
        registry.load(source)
    for name, plugin in registry.plugins.items():
        print(f"{name} ({registry.origins[name]})")
        kinds = {
            "passes": plugin.passes,
            "rules": plugin.rules,
            "cost models": plugin.cost_models,
            "targets": plugin.targets,
        }
        for kind, entries in kinds.items():
            if entries:
                print(f"  {kind}: {', '.join(sorted(entries))}")
    return 0
