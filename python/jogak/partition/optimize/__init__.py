"""Optimization of the collectives of a per-device program: free functions that `passes/partition` calls."""
