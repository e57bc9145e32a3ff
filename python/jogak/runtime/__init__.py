"""Running programs: the lowering from `linalg` to torch kernels, and the CPU simulator of a mesh."""
