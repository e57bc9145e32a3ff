"""Offsets in one arena for buffers with known lifetimes."""

from jogak.memory.packing.buffers import Buffer, live_peak
from jogak.memory.packing.search import PackResult, pack
from jogak.memory.packing.validate import find_overlap, validate_packing

__all__ = ["Buffer", "PackResult", "find_overlap", "live_peak", "pack", "validate_packing"]
