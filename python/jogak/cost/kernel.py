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

    Attributes:
        form: of the whole.
        operations: how many there are.
        special: how many of them are exponentials, logarithms, hyperbolic tangents, ...: the transcendental ones.
    """

    form: Form = Form.VECTOR
    operations: int = 1
    special: int = 0


PLAIN = Arithmetic()
"""One arithmetic operation, element by element."""
