"""An op that gives back what it gets, and through which no pass may look: what is behind it is not merged or moved.

It is that of IREE, `util.optimization_barrier`, so that its modules and ours mean the same. Upstream has none; it is
defined at run time in each context. Its effects are unknown to MLIR, which therefore leaves it alone.
"""

from __future__ import annotations

from torch_mlir import ir
from torch_mlir.dialects import irdl

BARRIER = "util.optimization_barrier"

_DIALECT = """
irdl.dialect @util {
  irdl.operation @optimization_barrier {
    %0 = irdl.any
    irdl.operands(value: %0)
    irdl.results(result: %0)
  }
}
"""


def define_barrier(context: ir.Context) -> None:
    """Make the op known to a context."""
    with context, ir.Location.unknown():
        irdl.load_dialects(ir.Module.parse(_DIALECT))


def barrier(value: ir.Value, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    """A value that nothing recognizes as the one it is."""
    made: ir.Value = ir.Operation.create(BARRIER, [value.type], [value], ip=ip, loc=loc).result
    return made
