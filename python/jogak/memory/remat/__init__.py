"""Which values to compute again so that a computation fits a memory budget, on plain data."""

from jogak.memory.remat.graph import RematGraph, check_graph, minimum_peak
from jogak.memory.remat.sequence import Simulation, simulate_sequence
from jogak.memory.remat.solve import RematResult, solve_frontier, solve_remat

__all__ = [
    "RematGraph",
    "RematResult",
    "Simulation",
    "check_graph",
    "minimum_peak",
    "simulate_sequence",
    "solve_frontier",
    "solve_remat",
]
