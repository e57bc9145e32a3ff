"""ONNX models through torch-mlir's importer. The package `onnx` is an extra: it is imported here only when needed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ingress.contract import check_interface, describe_arguments, describe_results
from jogak.ingress.lower import TO_LINALG, run_pipelines
from jogak.ir.context import from_mlir_error

_PIPELINES = ("builtin.module(torch-onnx-to-torch-backend-pipeline)", TO_LINALG)
_SHAPE_READERS = ("Resize", "Upsample", "Pad", "Tile", "Reshape", "Slice", "Expand", "ConstantOfShape")
"""Ops whose small operands decide shapes and so must stay constants."""


def _onnx() -> ModuleType:
    try:
        import onnx
    except ModuleNotFoundError:
        raise JogakError("reading ONNX models needs the package onnx", hint="pip install 'jogak[onnx]'") from None
    module: ModuleType = onnx
    return module


def _load(path: Path) -> Any:
    onnx = _onnx()
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:
        raise JogakError(f"is not a valid ONNX model: {error}", where=str(path), hint="export it again") from error


def _check_static(model: Any, path: Path) -> None:
    initialized = {each.name for each in model.graph.initializer}
    dynamic = [
        f"{value.name} dimension {i} ({dimension.dim_param or 'unknown'})"
        for value in model.graph.input
        if value.name not in initialized
        for i, dimension in enumerate(value.type.tensor_type.shape.dim)
        if not dimension.HasField("dim_value")
    ]
    if dynamic:
        raise JogakError(
            f"dynamic shapes are not supported: {', '.join(dynamic)}",
            where=str(path),
            hint="export with fixed sizes, or fix them with onnx.tools.update_model_dims",
        )


def _is_weight(initializer: Any, readers: dict[str, set[str]]) -> bool:
    """Whether an initializer is data: more than one floating-point number, not read to decide a shape."""
    numeric = _onnx().TensorProto
    floating = initializer.data_type in (numeric.FLOAT, numeric.DOUBLE, numeric.FLOAT16, numeric.BFLOAT16)
    decides = readers.get(initializer.name, set()) & set(_SHAPE_READERS)
    return floating and len(initializer.dims) > 0 and not decides


def _lift_weights(model: Any) -> dict[str, Tensor]:
    """Turn initializers that are weights into inputs of the graph, before its own inputs; return their values."""
    onnx = _onnx()
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    lifted = [each for each in model.graph.initializer if _is_weight(each, readers)]
    values = {each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy()) for each in lifted}
    kept = [each for each in model.graph.initializer if each.name not in values]
    rest = [each for each in model.graph.input if each.name not in values]
    declared = [onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in lifted]
    del model.graph.initializer[:], model.graph.input[:]
    model.graph.initializer.extend(kept)
    model.graph.input.extend([*declared, *rest])
    return values


def read_onnx(path: Path, context: ir.Context) -> tuple[ir.Module, dict[str, Tensor]]:
    """The model as one `@main` in linalg-on-tensors, and the values of its weights by name.

    Raises:
        JogakError: the package onnx is missing, the file is no valid model, has dynamic shapes, or uses an op that
            cannot be lowered.
    """
    model = _load(path)
    _check_static(model, path)
    weights = _lift_weights(model)
    module = _lower(model, path, context)
    initialized = {each.name for each in model.graph.initializer}
    names = [each.name for each in model.graph.input if each.name not in initialized]
    describe_arguments(module, [(name, "parameter" if name in weights else "input") for name in names])
    describe_results(module, [(each.name, "output", None) for each in model.graph.output])
    check_interface(module, str(path))
    return module, weights


def _lower(model: Any, path: Path, context: ir.Context) -> ir.Module:
    from torch_mlir.extras import onnx_importer

    model.graph.name = "main"
    information = onnx_importer.ModelInfo(model)
    module = information.create_module(context=context)
    try:
        onnx_importer.NodeImporter.define_function(information.main_graph, module.operation).import_all()
        run_pipelines(module, _PIPELINES)
    except (ir.MLIRError, onnx_importer.OnnxImportError) as error:
        detail = from_mlir_error(error)[0].render() if isinstance(error, ir.MLIRError) else str(error)
        raise JogakError(
            f"torch-mlir cannot lower this model: {detail}",
            where=str(path),
            hint="export the PyTorch model with torch.export.save and compile the .pt2 file instead",
        ) from error
    return module
