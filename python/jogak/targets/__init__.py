"""Targets: what runs the per-device programs."""
