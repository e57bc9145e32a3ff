"""Options as text: what is read, what `describe` shows, and what each mistake is answered with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jogak import zoo
from jogak.errors import JogakError


def test_listing_the_zoo_does_not_import_torch() -> None:
    code = "import sys; from jogak import zoo; zoo.names(); zoo.summary('gpt2'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_describe_shows_types_and_defaults() -> None:
    options = {option.name: option for option in zoo.describe("gpt2").options}
    assert (options["layers"].type, options["layers"].default) == ("int", "12")
    assert options["preset"].type == "one of medium, large, xl"
    assert {o.name: o.type for o in zoo.describe("unet").options}["upsample"] == "one of transpose, nearest"


def test_every_model_has_a_batch_option() -> None:
    for name in zoo.names():
        assert "batch" in [option.name for option in zoo.describe(name).options]


def test_options_go_over_the_preset() -> None:
    entry = zoo.build("gpt2", {"preset": "xl", "layers": "1", "width": "50", "vocab": "8", "batch": "1"})
    assert entry.module.wte.weight.shape == (8, 50)
    assert len(entry.module.blocks) == 1


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("gpt3", {}, "unknown model 'gpt3'", "did you mean 'gpt2'?"),
        ("gpt2", {"layer": "2"}, "unknown option 'layer'", "did you mean 'layers'?"),
        ("gpt2", {"layers": "two"}, "option 'layers' cannot be 'two'", "expected int"),
        ("gpt2", {"layers": "0"}, "option 'layers' cannot be 0", "layers must be positive"),
        ("gpt2", {"preset": "larg"}, "unknown preset 'larg'", "did you mean 'large'?"),
        ("gpt2", {"width": "50"}, "option 'width' is 50, which heads=12 does not divide", "multiple of heads"),
        ("gpt2", {"sequence": "2048"}, "option 'sequence' is 2048, more than context=1024", "raise context"),
        ("mlp", {"preset": "large"}, "unknown option 'preset'", "known: batch"),
        ("resnet", {"depth": "51"}, "option 'depth' cannot be '51'", "expected one of 18, 34, 50, 101, 152"),
        ("llama", {"kv_heads": "3"}, "option 'heads' is 8, which kv_heads=3 does not divide", "multiple of kv_heads"),
        ("llama", {"theta": "nan"}, "option 'theta' cannot be 'nan'", "expected float"),
        ("moe", {"experts": "1"}, "option 'experts' is 1", "at least 2"),
        ("moe", {"balance": "-1"}, "option 'balance' cannot be -1.0", "must be not negative"),
        ("mobilenet_v2", {"stages": "8"}, "option 'stages' is 8, but there are only 7", "fewer"),
        ("unet", {"image": "100"}, "option 'image' is 100, which 4 poolings by 2 do not divide", "multiple of 16"),
    ],
)
def test_answers_a_mistake(name: str, options: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(JogakError) as caught:
        zoo.build(name, options)
    assert caught.value.message.startswith(message)
    assert hint in (caught.value.hint or "")
    assert caught.value.where == f"zoo:{name}"
