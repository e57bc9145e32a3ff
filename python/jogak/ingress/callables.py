"""Models that a user's Python function returns: `file.py:callable` and `package.module:callable`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from jogak.errors import JogakError, unknown_name
from jogak.ingress.model import Model, require_file, seeded

_FORM = "give file.py:callable, package.module:callable, zoo:NAME, hf:NAME, or a .pt2, .onnx or .mlir file"
_RETURN_FORM = "return (module, args) or (module, args, kwargs), args being a tuple of example tensors"


_OURS = __file__


def user_place(error: BaseException, file: str | None, default: str) -> str:
    """`file:line` of the innermost frame of an exception that is in `file`, or of its last frame outside this one."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    mine = [frame for frame in frames if file and frame.filename == file]
    others = [frame for frame in frames if frame.filename != _OURS]
    chosen = mine or others
    return f"{chosen[-1].filename}:{chosen[-1].lineno}" if chosen else default


def _failed(what: str, error: BaseException, file: str | None, default: str) -> JogakError:
    text = str(error) or "no message"
    return JogakError(
        f"{what} raised {type(error).__name__}: {text}",
        where=user_place(error, file, default),
        hint="run it in Python by itself to see the whole traceback",
    )


def _import_file(path: Path) -> ModuleType:
    path = require_file(path).resolve()
    name = f"jogak_user_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise JogakError("is not a Python file", where=str(path), hint=_FORM)
    module = importlib.util.module_from_spec(specification)
    # Neighbouring files must be importable as they are when Python runs the file itself.
    sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise _failed(f"importing {path.name}", error, str(path), str(path)) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise JogakError(f"no module named {error.name!r}", where=name, hint=_FORM) from None
        raise _failed(f"importing {name}", error, None, name) from error
    except Exception as error:
        raise _failed(f"importing {name}", error, None, name) from error


def _find_callable(module: ModuleType, name: str, spec: str) -> Callable[[], Any]:
    found = getattr(module, name, None)
    if found is None:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name("callable", name, known, where=spec)
    if not callable(found):
        raise JogakError(f"{name!r} is a {type(found).__name__}, not a callable", where=spec, hint=_RETURN_FORM)
    result: Callable[[], Any] = found
    return result


def _place_of(function: Callable[[], Any], spec: str) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else spec


def checked(value: Any, spec: str, where: str) -> Model:
    """A model from what a user's callable returned.

    Raises:
        JogakError: it is not `(module, args)` or `(module, args, kwargs)`, or there is no tensor among the inputs.
    """
    parts = value if isinstance(value, tuple) else (value,)
    if not 2 <= len(parts) <= 3 or not isinstance(parts[0], nn.Module):
        shown = ", ".join(type(part).__name__ for part in parts)
        raise JogakError(
            f"the callable returned ({shown}), not a module and its inputs", where=where, hint=_RETURN_FORM
        )
    module, args, kwargs = parts if len(parts) == 3 else (*parts, {})
    if isinstance(args, Tensor):
        args = (args,)
    if not isinstance(args, (tuple, list)) or not isinstance(kwargs, dict):
        raise JogakError(
            f"the inputs are a {type(args).__name__} and a {type(kwargs).__name__}, not a tuple and a dict",
            where=where,
            hint=_RETURN_FORM,
        )
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves((args, kwargs))):
        raise JogakError("there is no tensor among the example inputs", where=where, hint=_RETURN_FORM)
    return Model(spec, module, tuple(args), kwargs, where=where)


def load_callable(spec: str, seed: int) -> Model:
    """Import the file or module, call the function, and check what it returns.

    Args:
        spec: `file.py:callable` or `package.module:callable`.
        seed: set before the call, so that random weights are the same every time.

    Raises:
        JogakError: the file, module or function does not exist, raises, or returns something else than a model.
    """
    source, colon, name = spec.rpartition(":")
    if not colon or not source or not name:
        path = Path(spec)
        if path.suffix == ".py" and path.is_file():
            raise JogakError(
                "the callable is missing", where=spec, hint=f"write {spec}:NAME, NAME being a function in it"
            )
        if path.suffix or "/" in spec or path.is_dir():
            require_file(path)
        raise JogakError(f"{spec!r} names no model", where=spec, hint=_FORM)
    module = _import_file(Path(source)) if source.endswith(".py") else _import_module(source)
    function = _find_callable(module, name, spec)
    where = _place_of(function, spec)
    try:
        with seeded(seed):
            value = function()
    except Exception as error:
        raise _failed(f"{name}()", error, module.__file__, where) from error
    return checked(value, spec, where)
