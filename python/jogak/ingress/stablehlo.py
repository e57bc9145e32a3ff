"""StableHLO programs as JAX exports them: lowered to linalg, Shardy's annotations read as constraints.

The `sdy` dialect is not part of torch-mlir, so its few forms are rewritten in the text: the mesh, shardings of
arguments and results, and `sdy.sharding_constraint`.
"""

from __future__ import annotations

import json
import re

from torch_mlir import ir
from torch_mlir.dialects import tensor
from torch_mlir.passmanager import PassManager

from jogak.errors import JogakError
from jogak.ir.context import parse_module
from jogak.ir.diagnostics import remark
from jogak.sharding.annotation import CONSTRAINT, texts_attribute, texts_of
from jogak.sharding.mesh import Mesh

INLINE = "builtin.module(inline,symbol-dce)"
LOWER = "builtin.module(stablehlo-legalize-to-linalg,canonicalize,cse)"
_HOLDER = "jogak.held"
_MESH = re.compile(r"^\s*sdy\.mesh @(\w+) = <\[(.*?)\](?:, device_ids=\[([^\]]*)\])?>[^\n]*\n", re.MULTILINE)
_AXIS = re.compile(r'"(\w+)"(?:\s*:\((\d+)\)(\d+))?(?:=(\d+))?')
_SHARDING = re.compile(r"#?(?:sdy\.sharding)?<@(\w+), \[(?P<dims>[^\]]*)\](?:, replicated=\{(?P<replicated>[^}]*)\})?>")
_ATTRIBUTE = re.compile(rf"sdy\.sharding = (#sdy\.sharding{_SHARDING.pattern.removeprefix('#?(?:sdy.sharding)?')})")
_OP = re.compile(rf"sdy\.sharding_constraint (%[\w#]+) ({_SHARDING.pattern}) : (tensor<[^>]*>)")
_OF_VALUES = re.compile(r"\s*\{sdy\.sharding = #sdy\.sharding_per_value<\[.*?\]>\}")


def is_stablehlo(text: str) -> bool:
    """Whether the text of a module has ops of StableHLO or of Shardy."""
    return re.search(r'^\s*(?:%[\w:#, ]+ = )?"?(?:stablehlo|sdy)\.\w+', text, re.MULTILINE) is not None


def read_stablehlo(text: str, context: ir.Context, filename: str) -> tuple[ir.Module, Mesh | None]:
    """Lower a program to linalg.

    Returns:
        the module, with `jogak.constraint` where a sharding was written, and the mesh that the text declares.

    Raises:
        JogakError: an annotation cannot be taken over, or an op has no form in linalg.
        PassFailed: the text is not valid.
    """
    text, mesh = _without_shardy(text, context, filename)
    _load_dialect(context)
    allowed = context.allow_unregistered_dialects
    context.allow_unregistered_dialects = True
    try:
        module = parse_module(text, context, filename)
        with context:
            PassManager.parse(INLINE).run(module.operation)
            _concatenate(module)
            PassManager.parse(LOWER).run(module.operation)
    except ir.MLIRError as error:
        raise JogakError(f"cannot be lowered to linalg: {error.message}", where=filename) from None
    finally:
        context.allow_unregistered_dialects = allowed
    _check_lowered(module, filename)
    _place_held(module)
    return module, mesh


def _load_dialect(context: ir.Context) -> None:
    """Nothing registers StableHLO for Python; a pass that depends on it loads it."""
    with context:
        empty = ir.Module.parse("func.func @main() {\n  return\n}")
        PassManager.parse("builtin.module(torch-backend-to-stablehlo-backend-pipeline)").run(empty.operation)


def _without_shardy(text: str, context: ir.Context, filename: str) -> tuple[str, Mesh | None]:
    """The text with constraints instead of Shardy's annotations."""
    meshes = {match[1]: _mesh(match[2], match[3], filename) for match in _MESH.finditer(text)}
    if len({str(mesh) for mesh in meshes.values()}) > 1:
        raise JogakError("the module declares several meshes", where=filename, hint="only one mesh can be taken over")
    for match in _OF_VALUES.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        with context:
            remark(ir.Location.file(filename, line, 0), "sdy.sharding_per_value of an op is not taken over")
    text = _OF_VALUES.sub("", _MESH.sub("", text))
    text = _ATTRIBUTE.sub(lambda match: f"{CONSTRAINT} = {_requests(match)}", text)
    text = _OP.sub(
        lambda match: f'"{_HOLDER}"({match[1]}) {{{CONSTRAINT} = {_requests(match)}}} : ({match[6]}) -> {match[6]}',
        text,
    )
    left = re.search(r"\bsdy\.\w+", text)
    if left is not None:
        line = text.count("\n", 0, left.start()) + 1
        raise JogakError(
            f"{left[0]} cannot be taken over", where=f"{filename}:{line}", hint="remove it, or export without it"
        )
    return text, next(iter(meshes.values()), None)


def _mesh(axes: str, devices: str | None, filename: str) -> Mesh:
    found = [(match[1], int(match[4] or 1)) for match in _AXIS.finditer(axes)]
    mesh = Mesh(tuple(axis for axis, _ in found), tuple(size for _, size in found))
    if devices is not None and [int(each) for each in devices.split(",")] != list(range(mesh.devices)):
        raise JogakError(
            f"the devices of the mesh {mesh} are in the order {devices}",
            where=filename,
            hint="devices are counted along the last axis first: export with a mesh in that order",
        )
    return mesh


def _requests(match: re.Match[str]) -> str:
    """`[{"x", ?}, {}]` with `replicated={"y"}` as the text of `"[x ?, _] replicated(y)"`.

    Dimensions of several priorities make an array, with a request for each of them that leaves the others open.
    """
    entries = re.findall(r"\{([^}]*)\}(?:p(\d+))?", match["dims"])
    priorities = sorted({int(number or 0) for _, number in entries}) or [0]
    asked = []
    for priority in priorities:
        dims = [_dim(entry) if int(number or 0) == priority else "?" for entry, number in entries]
        asked.append(f"[{', '.join(dims)}]" + (f" p{priority}" if priority else ""))
    if match["replicated"]:
        names = ", ".join(_axis(part) for part in _AXIS.finditer(match["replicated"]))
        first, *priority_of_first = asked[0].split("] ")
        asked[0] = " ".join([f"{first.rstrip(']')}]", f"replicated({names})", *priority_of_first])
    return json.dumps(asked if len(asked) > 1 else asked[0])


def _dim(entry: str) -> str:
    """`"x", ?` as `x ?`."""
    words = [_axis(part) for part in _AXIS.finditer(entry)]
    return " ".join([*words, *(["?"] if "?" in entry else [])]) or "_"


def _axis(match: re.Match[str]) -> str:
    return match[1] if match[2] is None else f"{match[1]}:({match[2]}){match[3]}"


def _concatenate(module: ir.Module) -> None:
    """Concatenations as `tensor.concat`, which can be split; the lowering would make a choice for each element."""
    for op in _ops_named(module, "stablehlo.concatenate"):
        with ir.InsertionPoint(op), op.location:
            dim = ir.IntegerAttr(op.attributes["dimension"]).value
            made = tensor.ConcatOp(op.results[0].type, dim, list(op.operands)).result
        op.results[0].replace_all_uses_with(made)
        op.erase()


def _check_lowered(module: ir.Module, filename: str) -> None:
    left = sorted({op.name for op in _ops(module) if op.name.startswith(("stablehlo.", "chlo."))})
    if left:
        raise JogakError(
            f"no form in linalg for {', '.join(left)}", where=filename, hint="rewrite the model without it"
        )


def _ops(module: ir.Module) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def see(op: ir.Operation) -> ir.WalkResult:
        found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(see)
    return found


def _ops_named(module: ir.Module, name: str) -> list[ir.Operation]:
    return [op for op in _ops(module) if op.name == name]


def _place_held(module: ir.Module) -> None:
    """Put what `sdy.sharding_constraint` said on the ops whose results it was about."""
    for op in _ops_named(module, _HOLDER):
        value = op.operands[0]
        if isinstance(value, ir.BlockArgument):
            raise JogakError(
                "a sharding constraint on an argument", hint="write the sharding at the argument of the function"
            )
        number = ir.OpResult(value).result_number
        asked = [f"#{number} {text}" if number else text for text in texts_of(op.attributes, CONSTRAINT)]
        with op.context:
            held = texts_of(value.owner.attributes, CONSTRAINT)
            value.owner.attributes[CONSTRAINT] = texts_attribute([*held, *asked])
        op.results[0].replace_all_uses_with(value)
        op.erase()
