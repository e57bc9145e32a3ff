"""The interface of `@main` in the IR: names, roles and updates of its arguments and results, and static shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ir.module import main_function

NAME, ROLE, UPDATES = "jogak.name", "jogak.role", "jogak.updates"


def _merged(attributes: ir.DictAttr | None, entries: dict[str, ir.Attribute]) -> ir.DictAttr:
    old = {each.name: each.attr for each in attributes} if attributes is not None else {}
    return ir.DictAttr.get({**old, **entries})


def _entries(name: str, role: str) -> dict[str, ir.Attribute]:
    return {NAME: ir.StringAttr.get(name), ROLE: ir.StringAttr.get(role)}


def _existing(function: Any, key: str, count: int) -> list[ir.DictAttr | None]:
    attributes = function.operation.attributes
    return list(attributes[key]) if key in attributes else [None] * count


def describe_arguments(module: ir.Module, described: Sequence[tuple[str, str]]) -> None:
    """Put a name and a role on every argument of `@main`."""
    function = main_function(module)
    with module.context:
        old = _existing(function, "arg_attrs", len(described))
        new = [_merged(attributes, _entries(*each)) for attributes, each in zip(old, described, strict=True)]
        function.operation.attributes["arg_attrs"] = ir.ArrayAttr.get(new)


def describe_results(module: ir.Module, described: Sequence[tuple[str, str, int | None]]) -> None:
    """Put a name, a role and, on an update, the number of the updated argument on every result of `@main`."""
    function = main_function(module)
    with module.context:
        old = _existing(function, "res_attrs", len(described))
        new = []
        for attributes, (name, role, updates) in zip(old, described, strict=True):
            entries = _entries(name, role)
            if updates is not None:
                entries[UPDATES] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), updates)
            new.append(_merged(attributes, entries))
        function.operation.attributes["res_attrs"] = ir.ArrayAttr.get(new)


def name_the_unnamed(module: ir.Module) -> None:
    """Complete a missing or partial contract: inputs `arg0`, `arg1` ..., outputs `output`, `output.1` ..."""
    function = main_function(module)
    function_type = function.operation.attributes["function_type"].value
    arguments = []
    for i, attributes in enumerate(_existing(function, "arg_attrs", len(function_type.inputs))):
        arguments.append((_text(attributes, NAME) or f"arg{i}", _text(attributes, ROLE) or "input"))
    results = []
    for i, attributes in enumerate(_existing(function, "res_attrs", len(function_type.results))):
        name = _text(attributes, NAME) or (f"output.{i}" if i else "output")
        updates = attributes[UPDATES].value if attributes is not None and UPDATES in attributes else None
        results.append((name, _text(attributes, ROLE) or "output", updates))
    describe_arguments(module, arguments)
    describe_results(module, results)


def _text(attributes: ir.DictAttr | None, key: str) -> str | None:
    return attributes[key].value if attributes is not None and key in attributes else None


def check_interface(module: ir.Module, where: str) -> None:
    """Refuse arguments and results of `@main` that are no tensors of static shape.

    Raises:
        JogakError: it names each one, and the dynamic dimensions.
    """
    function = main_function(module)
    function_type = function.operation.attributes["function_type"].value
    names = [_text(each, NAME) for each in _existing(function, "arg_attrs", len(function_type.inputs))]
    problems = []
    for i, type_ in enumerate(function_type.inputs):
        problems += _problems(f"argument {names[i] or i}", type_)
    for i, type_ in enumerate(function_type.results):
        problems += _problems(f"result {i}", type_)
    if problems:
        raise JogakError(
            f"only tensors with static shapes can cross @main: {', '.join(problems)}",
            where=where,
            hint="give every dimension a size",
        )


def _problems(what: str, type_: ir.Type) -> list[str]:
    if not isinstance(type_, ir.RankedTensorType):
        return [f"{what} is {type_}"]
    return [f"{what} has a dynamic dimension {d}" for d in range(type_.rank) if type_.is_dynamic_dim(d)]
