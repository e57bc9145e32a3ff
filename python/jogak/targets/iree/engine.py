"""The bridge between PyTorch's tensors and IREE. The text of `Functions` becomes part of every `device.py`."""

from __future__ import annotations

import hashlib
import importlib
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
        self._shared: dict[str, list[int]] = {}

    def call(self, name: str, count: int, *arguments: Tensor | int) -> list[Tensor]:
        """Call a function.

        Args:
            name: of the function.
            count: how many results it has.
            arguments: tensors, and positions on mesh axes.

        Returns:
            Tensors that share no memory with the arguments or with each other.
        """
        function = self._known.get(name) or self._known.setdefault(name, self._module.lookup_function(name))
        given = self._runtime.VmVariantList(len(arguments))
        found = self._runtime.VmVariantList(count)
        tensors = [self._aligned(each) for each in arguments if not isinstance(each, int)]
        for each in tensors:
            given.push_ref(self._device.from_dlpack_capsule(each.__dlpack__()))
        for position in arguments[len(tensors) :]:
            given.push_int(position)
        self._context.invoke(function, given, found)
        results = [self._tensor(found, number) for number in range(count)]
        if name not in self._shared:
            self._shared[name] = shared(tensors, results)
        for number in self._shared[name]:
            results[number] = results[number].clone()
        return results

    def _tensor(self, results: Any, number: int) -> Tensor:
        view = results.get_as_object(number, self._runtime.HalBufferView)
        made: Tensor = from_dlpack(self._device.create_dlpack_capsule(view, _CPU, 0))
        return made

    def _aligned(self, tensor: Tensor) -> Tensor:
        """The tensor as IREE takes it: contiguous, from an address that its vectors can be loaded from."""
        if tensor.is_contiguous() and tensor.data_ptr() % 64 == 0:
            return tensor
        return tensor.clone(memory_format=torch.contiguous_format)

    @property
    def peak_bytes(self) -> int:
        """The most bytes that IREE had allocated at once; arguments are not among them."""
        return int(self._device.allocator.statistics["device_bytes_peak"])


def shared(arguments: list[Tensor], results: list[Tensor]) -> list[int]:
    """The results that lie in the memory of an argument or of a result before them: IREE returns views as such.

    Which ones these are is a matter of the function, and not of one call.
    """
    taken = [(each.data_ptr(), each.data_ptr() + each.nbytes) for each in arguments]
    found = []
    for number, each in enumerate(results):
        start, end = each.data_ptr(), each.data_ptr() + each.nbytes
        if any(start < other and begin < end for begin, other in taken):
            found.append(number)
        else:
            taken.append((start, end))
    return found
