"""Kernels: one op of a program as a `torch.fx.GraphModule`."""
