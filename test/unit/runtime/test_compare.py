"""What counts as equal to PyTorch, in wide floats and in narrow ones."""

import pytest
import torch
from torch import Tensor

from jogak.ingress.options import Optimizer
from jogak.runtime.compare import compare, difference


def single(value: float) -> Tensor:
    return torch.tensor([value, 1.0])


def test_without_the_exact_result_the_difference_is_measured_by_what_was_expected() -> None:
    found = difference(single(4.5), single(4.0), 1e-10)
    assert (found.absolute, found.relative) == (0.5, 0.125)


def test_an_error_up_to_twice_the_reference_s_own_is_none() -> None:
    found = difference(single(6.0), single(5.0), 1e-10, exact=single(4.0))
    assert (found.absolute, found.relative) == (1.0, 0.0)


def test_an_error_beyond_that_is_measured_by_the_exact_magnitude() -> None:
    found = difference(single(7.0), single(5.0), 1e-10, exact=single(4.0))
    assert found.relative == pytest.approx((3.0 - 2.0) / 4.0)


def test_a_wrong_result_shows_where_the_reference_is_exact() -> None:
    assert difference(single(2.0), single(4.0), 1e-10, exact=single(4.0)).relative == 0.5


def test_a_value_that_is_finite_on_one_side_only_is_infinitely_far() -> None:
    found = difference(single(float("nan")), single(4.0), 1e-10, exact=single(4.0))
    assert found.relative == float("inf")


def test_second_moments_are_compared_by_their_roots() -> None:
    name = "exp_avg_sq.w"
    before = {name: torch.zeros(1), "optimizer.step": torch.zeros(())}
    values = {kind: {name: torch.tensor([size])} for kind, size in (("got", 16.0), ("wanted", 4.0), ("exact", 1.0))}
    found = compare(values["wanted"], values["got"], before, Optimizer("adamw"), "bf16", values["exact"])
    assert found[name].relative == pytest.approx((4.0 - 1.0) - 2 * (2.0 - 1.0))
