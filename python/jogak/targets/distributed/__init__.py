"""What targets share whose programs run as processes on `torch.distributed`: launcher, rank runtime, checkpoints."""
