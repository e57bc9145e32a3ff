"""The models that ship with Jogak, in pure PyTorch, with their sizes as options: `zoo:gpt2?layers=2&width=64`.

Each model is a file of this package with a frozen dataclass `Config` (its options and their defaults) and a function
`build(config) -> Entry`. Listing the names imports nothing; a model's file is imported when the model is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from jogak.errors import unknown_name
from jogak.zoo.options import Option, list_options, parse

if TYPE_CHECKING:
    from jogak.zoo.entry import Entry

_SUMMARIES = {
    "bert": "BERT encoder with a masked-language-model head",
    "gpt2": "GPT-2 decoder, 124M by default",
    "llama": "Llama decoder: RMSNorm, rotary positions, SwiGLU, grouped-query attention",
    "mlp": "multi-layer perceptron classifier",
    "mobilenet_v2": "MobileNetV2 image classifier: inverted residuals with depthwise convolutions",
    "moe": "decoder with mixture-of-experts layers: top-2 routing, dense dispatch with a capacity",
    "resnet": "ResNet image classifier, 50 layers by default, wide on request",
    "unet": "U-Net from image to image with skip connections and group norm",
    "vit": "vision transformer image classifier, ViT-B/16 by default",
}


@dataclass(frozen=True)
class Description:
    """What the listing of the zoo shows for one model."""

    name: str
    summary: str
    options: tuple[Option, ...]


def names() -> tuple[str, ...]:
    """The names of all models, sorted."""
    return tuple(_SUMMARIES)


def describe(name: str) -> Description:
    """The summary and the options of a model; imports its file, and torch with it.

    Raises:
        JogakError: there is no such model.
    """
    return Description(name, _SUMMARIES[_known(name)], list_options(_model(name).Config))


def summary(name: str) -> str:
    """One line about a model, without importing it.

    Raises:
        JogakError: there is no such model.
    """
    return _SUMMARIES[_known(name)]


def build(name: str, options: Mapping[str, str]) -> Entry:
    """Build a model with random weights on the current default device (`with torch.device("meta")` builds no weight).

    Args:
        name: one of `names()`.
        options: option name to text, as in `zoo:NAME?option=text`.

    Raises:
        JogakError: the model or an option is unknown, or a value does not fit.
    """
    where = f"zoo:{_known(name)}"
    model = _model(name)
    entry: Entry = model.build(parse(model.Config, options, where))
    return entry


def _known(name: str) -> str:
    if name not in _SUMMARIES:
        raise unknown_name("model", name, _SUMMARIES, where=f"zoo:{name}")
    return name


def _model(name: str) -> ModuleType:
    return import_module(f"jogak.zoo.{_known(name)}")
