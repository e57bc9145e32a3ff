"""What a plug-in can bring, and the form of a pass.

A plug-in is an object `Plugin` that an entry point of the group `jogak.plugins` names, or that a file given to
`--load-plugin` holds in a module-level variable `plugin`. Jogak's own passes are registered in this very way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch_mlir import ir

    from jogak.cost.machine import Machine
    from jogak.cost.model import CostModel
    from jogak.sharding.mesh import Mesh
    from jogak.sharding.rule import OpShardingRule
    from jogak.targets.target import Target

API_VERSION = 1


@dataclass(frozen=True)
class Pass:
    """A transformation of a module.

    A subclass is a frozen dataclass: `name` is how pipelines call it (`jogak-partition`), its fields are its options
    (`mesh` is written `{mesh=2x4}`, `fold_views` is written `{fold-views=true}`), its docstring is its documentation.
    """

    name: ClassVar[str]

    def run(self, module: ir.Module) -> None:
        """Change `module` in place; call `jogak.ir.diagnostics.fail` where that is impossible."""
        raise NotImplementedError


PassFactory = Callable[[], type[Pass]]
RuleFunction = Callable[["ir.Operation"], "OpShardingRule | str | None"]
"""From an op to its rule: an `OpShardingRule`, an einsum-like string (`ij, jk -> ik`), or None when none applies."""

CostModelFactory = Callable[["Machine", "Mesh"], "CostModel"]
"""From a machine and a mesh to their prices: a class such as `jogak.cost.model.Roofline`."""

TargetFactory = Callable[[], "Target"]
"""A function that imports and returns what writes for an engine and runs on it."""


@dataclass(frozen=True)
class Plugin:
    """Everything one package adds.

    Attributes:
        name: unique name, shown in errors and by `jogak plugins`.
        passes: pass name to a function that imports and returns the class (so that starting up stays cheap).
        rules: op name (`mydialect.op`) to its sharding rule.
        cost_models: name to a function that imports and returns what makes the cost model of a machine and a mesh.
        targets: name to a function that returns the target.
        api_version: version of this interface that the plug-in was written for.
    """

    name: str
    passes: Mapping[str, PassFactory] = field(default_factory=dict)
    rules: Mapping[str, RuleFunction] = field(default_factory=dict)
    cost_models: Mapping[str, Callable[[], CostModelFactory]] = field(default_factory=dict)
    targets: Mapping[str, TargetFactory] = field(default_factory=dict)
    api_version: int = API_VERSION
