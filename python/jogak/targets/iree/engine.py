"""The bridge between PyTorch's tensors and IREE. The text of `Functions` becomes part of every `device.py`."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

_CPU = 1
"""DLPack's number for memory of the host."""


class Functions:
    """The compiled functions of one module. Tensors go in and come out without a copy, through DLPack.

    Args:
        path: of the compiled module.
        digest: SHA-256 of its bytes.

    Raises:
        RuntimeError: the file is missing or is another one, or IREE is not installed.
    """

    def __init__(self, path: Path, digest: str) -> None:
        try:
            runtime = importlib.import_module("iree.runtime")
        except ImportError:
            raise RuntimeError("this program needs IREE: pip install 'jogak[iree]'") from None
        if not path.is_file():
            raise RuntimeError(f"{path}: the compiled module is missing: compile again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise RuntimeError(f"{path}: this is not the module that the program was compiled with: compile again")
        self._runtime = runtime
        self._instance = runtime.VmInstance()
        self._device = runtime.get_driver("local-sync").create_default_device()
        hal = runtime.create_hal_module(self._instance, self._device)
        self._module = runtime.VmModule.mmap(self._instance, str(path))
        self._context = runtime.VmContext(self._instance, [hal, self._module])
        self._known: dict[str, Any] = {}
        self._memory = int(runtime.MemoryType.DEVICE_LOCAL) | int(runtime.MemoryType.HOST_VISIBLE)
        self._usage = int(runtime.BufferUsage.DEFAULT) | int(runtime.BufferUsage.MAPPING)
        kinds = runtime.HalElementType
        self._elements = {
            torch.float64: kinds.FLOAT_64, torch.float32: kinds.FLOAT_32, torch.float16: kinds.FLOAT_16,
            torch.bfloat16: kinds.BFLOAT_16, torch.bool: kinds.BOOL_8, torch.int8: kinds.SINT_8,
            torch.int16: kinds.SINT_16, torch.int32: kinds.SINT_32, torch.int64: kinds.SINT_64,
        }  # fmt: skip

    def call(
        self, name: str, results: Sequence[tuple[torch.dtype, tuple[int, ...]]], *given: Tensor | int
    ) -> list[Tensor]:
        """Call a function.

        Args:
            name: of the function.
            results: the type and shape of each result. Each gets memory of its own, so that each can be freed.
            given: the tensors that it reads, then positions on mesh axes.
        """
        function = self._known.get(name) or self._known.setdefault(name, self._module.lookup_function(name))
        arguments = self._runtime.VmVariantList(len(given) + len(results))
        views = [self._new(dtype, shape) for dtype, shape in results]
        for view in views:
            arguments.push_ref(view)
        for each in given:
            if isinstance(each, int):
                arguments.push_int(each)
            else:
                arguments.push_ref(self._device.from_dlpack_capsule(self._aligned(each).__dlpack__()))
        self._context.invoke(function, arguments, self._runtime.VmVariantList(len(results)))
        return [from_dlpack(self._device.create_dlpack_capsule(view, _CPU, 0)) for view in views]

    def _new(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Any:
        """New memory for a result."""
        size = max(torch.Size(shape).numel() * dtype.itemsize, 1)
        buffer = self._device.allocator.allocate_buffer(self._memory, self._usage, size)
        return self._runtime.HalBufferView(buffer, shape, self._elements[dtype])

    def _aligned(self, tensor: Tensor) -> Tensor:
        """The tensor as IREE takes it: contiguous, from an address that its vectors can be loaded from."""
        if tensor.is_contiguous() and tensor.data_ptr() % 64 == 0:
            return tensor
        return tensor.clone(memory_format=torch.contiguous_format)

    @property
    def peak_bytes(self) -> int:
        """The most bytes that were allocated at once: intermediate values, and results that are still held."""
        return int(self._device.allocator.statistics["device_bytes_peak"])
