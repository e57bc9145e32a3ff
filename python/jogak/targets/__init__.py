"""What the per-device programs can run on, besides the simulator."""
