"""Micro-batches: a training step that takes its batch in parts, one after the other, and updates once."""
