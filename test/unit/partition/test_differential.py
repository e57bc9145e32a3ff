"""Random programs on random meshes with random shardings: all devices together compute what one device computes.

`bench/differential.py` runs as many more of them as wanted.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jogak.testing.differential import check_case, random_case
from jogak.testing.random_ops import OPS, random_program
from jogak.testing.random_programs import Builder


@pytest.mark.slow
@settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_partitioned_equals_whole(seed, ops):
    random = Random(seed)
    case = random_case(random, random_program(random, ops))
    mismatch = check_case(case)
    assert mismatch is None, f"{mismatch}\n{case.annotated}"


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.__name__)
def test_every_kind_of_op_alone(op):
    for seed in range(6):
        random = Random(seed)
        builder = Builder(random)
        op(builder)
        case = random_case(random, builder.text())
        mismatch = check_case(case)
        assert mismatch is None, f"{mismatch}\n{case.annotated}"
