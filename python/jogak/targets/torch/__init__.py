"""The target `torch`: the program of a device as Python that needs only torch, and its launch under torchrun."""
