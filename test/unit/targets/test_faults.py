from __future__ import annotations

import pytest
from torch.distributed import HashStore

from jogak.targets.distributed.rank.errors import RunError
from jogak.targets.distributed.rank.faults import agree


def test_ranks_with_another_plan_or_torch_are_named() -> None:
    store = HashStore()
    agree(store, 0, 1, {"plan": "a", "torch": "2.13"}, 0.1)
    with pytest.raises(RunError, match=r"rank 0 has torch 2\.13, rank 1 has 2\.12"):
        agree(store, 1, 2, {"plan": "a", "torch": "2.12"}, 0.1)
    with pytest.raises(RunError, match="rank 0 has plan a, rank 1 has b"):
        agree(store, 1, 2, {"plan": "b", "torch": "2.13"}, 0.1)


def test_a_rank_that_never_starts_is_named() -> None:
    with pytest.raises(RunError, match=r"rank 1 did not start within 0\.1 seconds"):
        agree(HashStore(), 0, 2, {"plan": "a"}, 0.1)
