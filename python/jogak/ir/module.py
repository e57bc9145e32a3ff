"""Small helpers on modules: finding the main function, and printing."""

from __future__ import annotations

from torch_mlir import ir

from jogak.errors import JogakError

ELIDE_LARGER_THAN = 16
"""Constants with more elements than this are printed as `...` for people."""


def main_function(module: ir.Module) -> ir.OpView:
    """The `func.func @main` of a module.

    Raises:
        JogakError: there is none.
    """
    functions = [op for op in module.body.operations if op.operation.name == "func.func"]
    for function in functions:
        if function.name.value == "main":
            return function
    names = ", ".join(f"@{function.name.value}" for function in functions) or "none"
    raise JogakError("the module has no function @main", hint=f"functions in it: {names}; rename one to @main")


def print_module(module: ir.Module, *, elide: int | None = ELIDE_LARGER_THAN, locations: bool = False) -> str:
    """The text of a module, with a final newline.

    Args:
        module: what to print; where it is invalid MLIR falls back to its generic form.
        elide: constants with more elements are written `...` and cannot be read back; None writes everything.
        locations: write the source location of every op.
    """
    text: str = module.operation.get_asm(large_elements_limit=elide, enable_debug_info=locations)
    return text if text.endswith("\n") else f"{text}\n"
