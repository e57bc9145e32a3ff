"""Why no plan fits: what fills the memory at the worst point, and what would fit."""

from __future__ import annotations

import numpy as np

from jogak.autoshard.model import Model
from jogak.autoshard.solving import Outcome
from jogak.text import size

_SHOWN = 5


def explain_infeasible(model: Model, outcome: Outcome, limit: float, share: float = 1.0) -> tuple[str, str]:
    """Message and hint for a program that does not fit `limit` bytes a device.

    Args:
        share: the part of what ops make that counted, when the rest was to be recomputed.
    """
    least, at = model.holds.least()
    graph, mesh = model.sites.graph, model.sites.mesh
    groups: dict[str, float] = {}
    for hold, values in model.holds.without_copies().at(at):
        for number in values.tolist():
            value = model.sites.values[number]
            kind = "arguments" if value.producer is None else f"made at {graph.nodes[value.producer].location}"
            groups[kind] = groups.get(kind, 0.0) + float(hold.bytes.min())
    largest = sorted(groups.items(), key=lambda item: -item[1])[:_SHOWN]
    where = graph.nodes[min(at, len(graph.nodes) - 1)].location
    told = "; ".join(f"{size(int(held))} {kind}" for kind, held in largest)
    bound = "at least " if least > limit else "by the best plans found more than that; at least "
    even = "" if share == 1 else f" and with recomputation down to {share:.0%} of what ops make"
    message = (
        f"no plan found on the mesh {mesh} fits {size(int(limit))} a device: it takes {bound}{size(int(least))}, "
        f"split as far as it can be{even}, at {where}: {told}"
    )
    factor = max(least / limit, 1.0) if limit else 1.0
    devices = int(np.ceil(mesh.devices * factor))
    hint = f"take about {max(devices, mesh.devices + 1)} devices, a smaller batch, or a machine with more memory"
    return message, hint
