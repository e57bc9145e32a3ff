"""Folders that other versions wrote end with a message."""

from __future__ import annotations

import pytest

from jogak.configuration import Configuration
from jogak.errors import JogakError
from jogak.ingress.options import ImportOptions


@pytest.mark.parametrize("key", ["searched", "micro_batches", "search_gap", "options"])
def test_a_configuration_that_lacks_something_says_so(key):
    written = Configuration("zoo:mlp", "data=2", ImportOptions()).to_json()
    assert Configuration.from_json(written).to_json() == written
    del written[key]
    with pytest.raises(JogakError, match=f"cannot be read: KeyError '{key}'") as caught:
        Configuration.from_json(written)
    assert caught.value.hint == "compile the model again"
