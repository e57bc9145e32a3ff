from __future__ import annotations

from pathlib import Path

import pytest

from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.sharding.mesh import Mesh

FOLDER = Path(__file__).parent


@pytest.fixture(scope="session")
def priced():
    """Makes a cost model for a mesh on a machine where splitting pays."""

    def build(mesh: str, machine: str = str(FOLDER / "eager.toml")) -> Roofline:
        return Roofline(load_machine(machine), Mesh.parse(mesh))

    return build
