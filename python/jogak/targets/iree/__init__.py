"""The target `iree`: the program of a device as functions between collectives, compiled by IREE, run under torchrun."""
