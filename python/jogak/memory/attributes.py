"""Names of the attributes that the memory passes write; targets read them, and need none of them to be right."""

ARENA = "jogak.arena"
"""On the function: bytes of the arena that all offsets lie in."""
OFFSET = "jogak.offset"
"""On an argument its first byte in the arena; on an op an array with one for each result, -1 where it has none."""
RECOMPUTE_OF = "jogak.recompute_of"
"""On an op that is done again: where the first one stands. A target must not merge the two: it puts an optimization
barrier in front of its operands."""
RECOMPUTE = "jogak.recompute"
"""Beside it: a number that no other op has, so that CSE leaves every one of them; below zero where the model's own
checkpointing asks for it."""
SCRATCH = "jogak.scratch"
"""On an op: bytes that the target takes beside operands and results while it runs."""
SCRATCH_OFFSET = "jogak.scratch_offset"
"""Beside it: their first byte in the arena."""
