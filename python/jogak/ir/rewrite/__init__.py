"""Rewrites of programs in linalg-on-tensors form: free functions that the passes of `passes/normalize` call."""
