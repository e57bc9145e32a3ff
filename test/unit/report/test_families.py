from __future__ import annotations

import pytest

from jogak.report.families import family, template_of


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["wte"], "wte"),
        ([""], ""),
        (["blocks.3.mlp", "blocks.3.mlp"], "blocks.3.mlp"),
        (["blocks.0.mlp", "blocks.1.mlp"], "blocks.{0,1}.mlp"),
        (["blocks.2.mlp", "blocks.0.mlp", "blocks.1.mlp"], "blocks.{0..2}.mlp"),
        (["blocks.0.mlp", "blocks.2.mlp", "blocks.4.mlp"], "blocks.{0,2,4}.mlp"),
        (["a.0.b.0", "a.0.b.1", "a.1.b.0", "a.1.b.1"], "a.{0,1}.b.{0,1}"),
        (["a.0.b.0", "a.1.b.1"], "a.0.b.0, a.1.b.1"),
    ],
)
def test_family(names, text):
    assert family(names) == text


def test_template_replaces_whole_numbers_only():
    assert template_of("layer4.0.conv1.weight") == "layer4.{}.conv1.weight"
