"""From a traced graph to linalg-on-tensors through torch-mlir, with our locations and our errors."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch_mlir import ir
from torch_mlir.extras.fx_importer import ContextCache, FxImporter
from torch_mlir.passmanager import PassManager

from jogak.errors import JogakError
from jogak.ingress.checkpoints import cut_regions, join_regions
from jogak.ingress.places import Place, place_of
from jogak.ir.context import from_mlir_error, new_context

TO_BACKEND = "builtin.module(func.func(torch-match-quantized-custom-ops),torchdynamo-export-to-torch-backend-pipeline)"
TO_LINALG = "builtin.module(torch-backend-to-linalg-on-tensors-backend-pipeline{allow-non-finites=true})"
PIPELINES = (TO_BACKEND, TO_LINALG)
"""torch-mlir's way from the torch dialect to linalg."""

_PLACES_SHOWN = 3


class _PlaceCache(ContextCache):  # type: ignore[misc]
    """Gives torch-mlir's importer the places that the tracer recorded."""

    def get_node_location(self, node: fx.Node) -> ir.Location:
        return _location(place_of(node), self._c)


def _location(place: Place, context: ir.Context) -> ir.Location:
    """`"module.path"("file":line:0)` as an MLIR location."""
    inner = ir.Location.file(place.file, place.line, 0, context=context) if place.file else ir.Location.unknown(context)
    return ir.Location.name(place.scope, inner, context=context) if place.scope else inner


def _import_graph(graph: fx.Graph, context: ir.Context) -> ir.Module:
    """The graph in the torch dialect."""
    importer = FxImporter(context=context)
    importer._cc = _PlaceCache(context, py_attr_tracker=importer._py_attr_tracker)
    importer.import_stateless_graph(graph, func_name="main")
    return importer.module


def run_pipelines(module: ir.Module, pipelines: Sequence[str] = PIPELINES) -> None:
    """Lower a module in place.

    Raises:
        MLIRError: a pass failed; the error carries its diagnostics.
    """
    with module.context:
        for pipeline in pipelines:
            PassManager.parse(pipeline).run(module.operation)


def lower(graph: fx.GraphModule, context: ir.Context) -> ir.Module:
    """The graph as one function `@main` in linalg-on-tensors.

    Raises:
        JogakError: ops cannot be lowered; it lists all of them with their source lines.
    """
    try:
        repeated = cut_regions(graph.graph)
        module = _import_graph(graph.graph, context)
        run_pipelines(module)
        join_regions(module, repeated)
    except (ir.MLIRError, NotImplementedError, TypeError, AssertionError) as error:
        raise _explain(graph.graph, error) from error
    return module


def _explain(graph: fx.Graph, error: Exception) -> JogakError:
    unsupported = list(_unsupported(graph))
    if unsupported:
        return unsupported_ops(unsupported)
    detail = from_mlir_error(error)[0].render() if isinstance(error, ir.MLIRError) else str(error)
    return JogakError(f"torch-mlir cannot lower this program: {detail}", hint="report it with the model that shows it")


def unsupported_ops(found: Sequence[tuple[str, Sequence[str]]]) -> JogakError:
    """The error for ops that cannot be lowered.

    Args:
        found: each op's name and the source lines that use it.
    """
    lines = []
    for name, places in found:
        more = f" and {len(places) - _PLACES_SHOWN} more" if len(places) > _PLACES_SHOWN else ""
        lines.append(f"\n  {name}: {', '.join(places[:_PLACES_SHOWN])}{more}")
    plural = "op is" if len(found) == 1 else "ops are"
    return JogakError(
        f"{len(found)} {plural} not supported:{''.join(lines)}",
        where=found[0][1][0] if found[0][1] else None,
        hint="write these lines with other PyTorch functions, or add a decomposition to jogak.ingress.decompositions",
    )


def _signature(node: fx.Node) -> Any:
    """Dtype and shape of a node's value: what decides whether an op on it can be lowered."""
    value = node.meta.get("val")
    return f"{value.dtype}{tuple(value.shape)}" if isinstance(value, Tensor) else str(value)


def _unsupported(graph: fx.Graph) -> Iterator[tuple[str, list[str]]]:
    """Lower every distinct op of the graph by itself, and tell which ones fail."""
    calls: dict[Any, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            arguments = fx.node.map_arg((node.args, node.kwargs), _signature)
            calls.setdefault((node.target, str(arguments)), []).append(node)
    failing: dict[str, list[str]] = {}
    for nodes in calls.values():
        if not _lowers_alone(nodes[0]):
            name = str(nodes[0].target).removesuffix(".default")
            failing.setdefault(name, []).extend(f"{place_of(node)}" for node in nodes)
    for name, places in failing.items():
        yield name, list(dict.fromkeys(places))


def _lowers_alone(node: fx.Node) -> bool:
    graph = fx.Graph()
    inputs = {}
    for each in node.all_input_nodes:
        inputs[each] = graph.placeholder(each.name)
        inputs[each].meta = dict(each.meta)
    copy = graph.node_copy(node, inputs.__getitem__)
    value = copy.meta.get("val")
    outputs = [copy]
    if isinstance(value, (tuple, list)):
        outputs = []
        for i, part in enumerate(value):
            if isinstance(part, Tensor):
                item = graph.call_function(operator.getitem, (copy, i))
                item.meta["val"] = part
                outputs.append(item)
    graph.output(tuple(outputs))
    try:
        run_pipelines(_import_graph(graph, new_context()))
    except (ir.MLIRError, NotImplementedError, TypeError, AssertionError):
        return False
    return True
