"""What IREE compiles for: the flags of each backend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backend:
    """A kind of device.

    Attributes:
        name: of the target, as the command line takes it.
        flags: of `iree-compile`.
    """

    name: str
    flags: tuple[str, ...]


_CPU = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host",
)
BACKENDS = {
    each.name: each
    for each in (
        Backend("iree", _CPU),
        Backend("iree-cuda", ("--iree-hal-target-device=cuda", "--iree-cuda-target=sm_80")),
        Backend("iree-rocm", ("--iree-hal-target-device=hip", "--iree-rocm-target=gfx942")),
        Backend("iree-vulkan", ("--iree-hal-target-device=vulkan", "--iree-vulkan-target=ampere")),
    )
}
"""By the name of the target. Other architectures: `JOGAK_IREE_FLAGS`, which comes last."""
