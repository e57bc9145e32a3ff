"""What a terminal shows while a command works: the phase, and in the search a line that is rewritten."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

    from jogak.autoshard.solving import State
    from jogak.sharding.mesh import Mesh


class Display:
    """Writes to stderr, which must be a terminal for anything to show."""

    def __init__(self) -> None:
        self.shows = sys.stderr.isatty()
        self.line: Status | None = None

    def phase(self, name: str) -> None:
        """A phase of the compiler begins."""
        self.close()
        if self.shows:
            print(f"jogak: {name} ...", file=sys.stderr)

    def search(self, mesh: Mesh, others: float | None, state: State) -> None:
        """A search got further.

        Args:
            others: seconds of the best plan on the meshes before this one.
        """
        if not self.shows:
            return
        from rich.console import Console

        from jogak.report.summary import search_state

        text = search_state(mesh, others, state)
        if self.line is None:
            self.line = Console(stderr=True, highlight=False).status(text, spinner="line")
            self.line.start()
        self.line.update(text)

    def close(self) -> None:
        """Take the line away."""
        if self.line is not None:
            self.line.stop()
            self.line = None
