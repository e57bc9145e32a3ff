"""Optimization of the collectives of a per-device program: free functions that the passes of `passes/partition` call."""
