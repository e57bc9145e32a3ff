"""The kinds of collectives and their names; the report and the targets know them without PyTorch."""

from __future__ import annotations

COMMUNICATION = frozenset(["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "update_halo", "permute"])
"""Collectives of per-device programs that move data between devices, by the name of the `shard` op, `permute` for a
send and the receive of what it leaves: processes start
them, compute on, and wait for them later. A slice is local."""
HALO = "halo"
"""An exchange of margins with the neighbours."""
KINDS = {"send": "send_recv", "update_halo": HALO}
"""Names of kinds where they differ from the op's; a transfer is counted at the `send`."""
