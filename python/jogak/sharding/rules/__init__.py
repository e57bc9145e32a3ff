"""From an op to its sharding rule.

`linalg` ops by their maps, structural ops by what they do to dimensions, the rest by plug-in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch_mlir import ir

from jogak.ir.barrier import BARRIER
from jogak.ir.structured import is_tensor, region_values, shape_of
from jogak.plugin import RuleFunction
from jogak.sharding.rule import OpShardingRule
from jogak.sharding.rules.einsum import einsum_rule
from jogak.sharding.rules.linalg import generic_rule
from jogak.sharding.rules.tensor import (
    concat_rule,
    extract_slice_rule,
    fill_rule,
    insert_slice_rule,
    pad_rule,
    reshape_rule,
    same_rule,
)
from jogak.sharding.rules.tm_tensor import along_dimension_rule, scatter_rule

BUILTIN: Mapping[str, Callable[[ir.Operation], OpShardingRule]] = {
    "linalg.generic": generic_rule,
    "linalg.fill": fill_rule,
    "tensor.expand_shape": reshape_rule,
    "tensor.collapse_shape": reshape_rule,
    "tensor.extract_slice": extract_slice_rule,
    "tensor.insert_slice": insert_slice_rule,
    "tensor.pad": pad_rule,
    BARRIER: same_rule,
    "tensor.concat": concat_rule,
    "tm_tensor.scatter": scatter_rule,
    "tm_tensor.scan": along_dimension_rule,
    "tm_tensor.sort": along_dimension_rule,
    "tm_tensor.topk": along_dimension_rule,
}


def tensor_operands(op: ir.Operation) -> list[ir.Value]:
    """The tensors an op reads, in the order of its rule: its operands, then what its regions capture, each once."""
    operands = [operand for operand in op.operands if is_tensor(operand)]
    if not len(op.regions):
        return operands
    captured: list[ir.Value] = []
    for value in region_values(op):
        if is_tensor(value) and value not in captured:
            captured.append(value)
    return operands + captured


def rule_of(op: ir.Operation, plugins: Mapping[str, RuleFunction]) -> OpShardingRule:
    """The sharding rule of an op. An op that nobody knows must stay whole, and its rule says so."""
    builtin = BUILTIN.get(op.name)
    operands = [shape_of(operand) for operand in tensor_operands(op)]
    results = [shape_of(result) for result in op.results if is_tensor(result)]
    if builtin is not None:
        rule = builtin(op)
        if len(rule.operands) == len(operands):
            return rule
        return OpShardingRule.blocked(operands, results, f"{op.name} reads a tensor where it depends on a condition")
    given = plugins[op.name](op) if op.name in plugins else None
    if given is None:
        return OpShardingRule.blocked(operands, results, f"no sharding rule for {op.name}")
    return einsum_rule(given, operands, results, where=op.name) if isinstance(given, str) else given
