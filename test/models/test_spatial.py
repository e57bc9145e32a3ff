"""Images split over height and width: training steps of small vision models, equal to PyTorch."""

from __future__ import annotations

import pytest

from jogak.testing.counts import Check, counts_of, measure

SPATIAL = {
    "strided convolutions, batch normalization, max-pooling": (
        "conv_net",
        "data=2",
        ("x=[_, _, data, _]", "target=[_, _]"),
    ),
    "sizes that do not divide": ("conv_net", "data=4", ("x=[_, _, data, _]", "target=[_, _]")),
    "height and width, depthwise": (
        "depthwise",
        "data=2,model=2",
        ("x=[_, _, data, model]", "target=[_, _, data, model]"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPATIAL)
def test_a_training_step_on_split_images_equals_pytorch(name):
    model, mesh, constraints = SPATIAL[name]
    verdict = measure(Check("spatial", name, model, mesh, constraints, {}))
    assert verdict.error < 1e-6
    assert counts_of(verdict)["halo"] > 0
    assert verdict.counted == verdict.promised
