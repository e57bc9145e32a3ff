"""What a kernel does, as far as its time depends on it: the form of its arithmetic and how much of it there is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """The forms of arithmetic that engines run at rates of their own."""

    CONTRACTION = "contraction"
    """Sums of products: matrix units."""

    CONVOLUTION = "convolution"
    """Sums of products over windows."""

    VECTOR = "vector"
    """Everything else, element by element."""


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic of one iteration of a kernel.

    What depends on some of the loops only (the logarithm of a sum, subtracted from every element) is a part of an
    operation an iteration.

    Attributes:
        form: of the whole.
        operations: how many arithmetic operations there are.
        special: how many of them are exponentials, logarithms, hyperbolic tangents, ...: the transcendental ones.
        steps: how many kernels an engine needs that runs each operation by itself.
        passes: how many results they make, all of an iteration together.
    """

    form: Form = Form.VECTOR
    operations: int = 1
    special: float = 0.0
    steps: int = 1
    passes: float = 1.0


PLAIN = Arithmetic()
"""One arithmetic operation, element by element."""
