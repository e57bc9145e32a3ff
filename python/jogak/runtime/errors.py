"""What goes wrong while programs run."""

from __future__ import annotations

from jogak.errors import JogakError


class SimulationError(JogakError):
    """The programs of a mesh cannot go on: deadlock, collectives that do not match, wrong inputs, or a failing op."""
