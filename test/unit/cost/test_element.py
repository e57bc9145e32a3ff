"""Sizes of element types."""

import pytest

from jogak.cost.element import element_size
from jogak.errors import JogakError

SIZES = {
    "f64": 8, "index": 8, "f32": 4, "i32": 4, "f16": 2, "bf16": 2, "i8": 1, "ui8": 1, "si16": 2, "i1": 1, "i4": 1,
    "f8E4M3FN": 1, "complex<f32>": 8,
}  # fmt: skip


@pytest.mark.parametrize("element", SIZES)
def test_size(element: str) -> None:
    assert element_size(element) == SIZES[element]


@pytest.mark.parametrize("element", ["", "!quant", "vector<4xf32>", "none"])
def test_a_type_without_a_known_size_is_told(element: str) -> None:
    with pytest.raises(JogakError, match="size of an element"):
        element_size(element)
