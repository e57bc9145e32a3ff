"""The prices of a compilation, for what is asked of its folder later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jogak.configuration import Configuration
from jogak.cost.machine_file import load_machine
from jogak.cost.model import CostModel, cost_model
from jogak.registry import registry_of
from jogak.sharding.mesh import Mesh


def cost_of(manifest: Mapping[str, Any]) -> tuple[Mesh, CostModel]:
    """The mesh of a compilation, and the prices that it was made with: those of its own plug-ins, too.

    Raises:
        JogakError: its machine file or a plug-in is gone.
    """
    configuration = Configuration.from_json(manifest["configuration"])
    mesh = Mesh.from_json(manifest["mesh"])
    registry = registry_of(configuration.plugins)
    return mesh, cost_model(configuration.cost_model, load_machine(configuration.machine), mesh, registry)
