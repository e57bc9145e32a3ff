"""Hugging Face architectures from their default configuration, with random weights: `hf:gpt2?n_layer=2&n_embd=64`.

Nothing is downloaded: the model is built from `transformers`' configuration class, on which options override fields.
Besides the fields of the configuration there are the options of `_OWN_OPTIONS`. So that a model can be traced into one
static program, attention is the eager one, every dropout is off, no cache is kept, and a mixture of experts multiplies
batches of gathered expert weights instead of looping over the experts that were hit.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from jogak.errors import JogakError, unknown_name
from jogak.zoo.entry import Entry
from jogak.zoo.options import parse_value, require_positive

_OWN_OPTIONS = ("batch", "image", "labels", "num_labels", "sequence", "task")
_DROPOUT = re.compile(r"drop")
_DEFAULT_BATCH = 8
_DEFAULT_IMAGE = 224
_LONGEST_DEFAULT_SEQUENCE = 1024

Inputs = tuple[dict[str, Tensor], dict[str, int]]
"""Keyword inputs of `forward`, and the exclusive upper bounds of the integer ones."""


@dataclass(frozen=True)
class _Sizes:
    """The sizes of the example inputs, and whether labels are among them."""

    batch: int
    sequence: int
    image: int
    labels: bool


def _text_inputs(config: Any, sizes: _Sizes) -> Inputs:
    """`input_ids` and `labels` `[batch, sequence]`."""
    shape = (sizes.batch, sizes.sequence)
    names = ["input_ids", *(["labels"] if sizes.labels else [])]
    return {name: torch.randint(0, config.vocab_size, shape) for name in names}, dict.fromkeys(names, config.vocab_size)


def _seq2seq_inputs(config: Any, sizes: _Sizes) -> Inputs:
    """`input_ids` and, for the decoder, `labels` or its own inputs, `[batch, sequence]`."""
    shape = (sizes.batch, sizes.sequence)
    names = ["input_ids", "labels" if sizes.labels else "decoder_input_ids"]
    return {name: torch.randint(0, config.vocab_size, shape) for name in names}, dict.fromkeys(names, config.vocab_size)


def _image_inputs(config: Any, sizes: _Sizes) -> Inputs:
    """`pixel_values` `[batch, channels, image, image]` and `labels` `[batch]`."""
    pixels = torch.randn(sizes.batch, config.num_channels, sizes.image, sizes.image)
    if not sizes.labels:
        return {"pixel_values": pixels}, {}
    labels = torch.randint(0, config.num_labels, (sizes.batch,))
    return {"pixel_values": pixels, "labels": labels}, {"labels": config.num_labels}


def _segmentation_inputs(config: Any, sizes: _Sizes) -> Inputs:
    """`pixel_values` `[batch, channels, image, image]` and `labels` `[batch, image, image]`."""
    inputs, bounds = _image_inputs(config, sizes)
    if sizes.labels:
        inputs["labels"] = torch.randint(0, config.num_labels, (sizes.batch, sizes.image, sizes.image))
    return inputs, bounds


@dataclass(frozen=True)
class _Task:
    """What a model is trained for: `transformers`' auto class and its table of model types, and the inputs."""

    auto_class: str
    table: str
    inputs: Callable[[Any, _Sizes], Inputs]


_TASKS = {
    "seq2seq": _Task("AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", _seq2seq_inputs),
    "masked_lm": _Task("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING_NAMES", _text_inputs),
    "causal_lm": _Task("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", _text_inputs),
    "image_classification": _Task(
        "AutoModelForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES", _image_inputs
    ),
    "semantic_segmentation": _Task(
        "AutoModelForSemanticSegmentation", "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES", _segmentation_inputs
    ),
}
"""In the order in which they are tried for a model that is good for several."""

_PREFERRED_TASK = {"segformer": "semantic_segmentation"}


def build(name: str, options: Mapping[str, str]) -> Entry:
    """Build a `transformers` model with random weights on the current default device.

    Args:
        name: a `model_type` of `transformers` (`gpt2`, `llama`, `bert`, `vit`, `resnet`, ...).
        options: fields of its configuration, and `batch`, `sequence`, `image` (input sizes), `num_labels`, `task` (one
            of `seq2seq`, `masked_lm`, `causal_lm`, `image_classification`, `semantic_segmentation`; by default the
            first of them that the model can do) and `labels` (`false`: no labels among the inputs, hence no loss).

    Returns:
        The model, its inputs as keywords. With labels the model returns its own loss.

    Raises:
        JogakError: `transformers` is missing; the model type, an option or a task is unknown; a value does not fit.
    """
    where = f"hf:{name}"
    transformers = _transformers(where)
    if name not in transformers.CONFIG_MAPPING:
        raise unknown_name("Hugging Face model type", name, transformers.CONFIG_MAPPING.keys(), where=where)
    config = _configure(transformers.CONFIG_MAPPING[name], options, where)
    task = _TASKS[_choose_task(name, options, where)]
    inputs, bounds = _example_inputs(task, config, options, where)
    module = _instantiate(getattr(transformers, task.auto_class), config, where)
    return Entry(module, kwargs=inputs, bounds=bounds)


def _example_inputs(task: _Task, config: Any, options: Mapping[str, str], where: str) -> Inputs:
    sizes = _sizes(config, options, where)
    try:
        return task.inputs(config, sizes)
    except AttributeError as error:
        message = f"the inputs of this model are not known: its configuration has no {error.name!r}"
        hint = "write a file.py:callable that returns the model and its inputs"
        raise JogakError(message, where=where, hint=hint) from error


def _instantiate(auto_class: Any, config: Any, where: str) -> nn.Module:
    try:
        module: nn.Module = auto_class.from_config(config, attn_implementation="eager")
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise JogakError(f"transformers cannot build this configuration: {_first_line(error)}", where=where) from error
    if module.loss_type is None:
        module.loss_type = "ForCausalLM"  # what transformers falls back to, with a warning
    make_traceable(module)
    return module


def make_traceable(model: nn.Module) -> None:
    """Keep a `transformers` model from looking at values when it builds its attention mask.

    Without an attention mask, `transformers` searches the position ids for several sequences packed into one and
    branches on what it finds. It leaves that out under the tracers that it knows; functionalized fake tensors are not
    among them. Position ids that the model makes itself never hold packed sequences, so the answer is known.
    """
    forward = model.forward

    @functools.wraps(forward)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with _no_packed_sequences():
            return forward(*args, **kwargs)

    model.forward = wrapped


@contextmanager
def _no_packed_sequences() -> Iterator[None]:
    from transformers import masking_utils

    original = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = original


def _transformers(where: str) -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise JogakError(
            "Hugging Face models need the package 'transformers'", where=where, hint="pip install transformers"
        ) from None
    return transformers


def _choose_task(name: str, options: Mapping[str, str], where: str) -> str:
    from transformers.models.auto import modeling_auto

    possible = [task for task, spec in _TASKS.items() if name in getattr(modeling_auto, spec.table)]
    if not possible:
        raise JogakError(f"{name!r} has no model for any known task", where=where, hint=f"tasks: {', '.join(_TASKS)}")
    task = options.get("task", _PREFERRED_TASK.get(name, possible[0]))
    if task not in possible:
        raise unknown_name("task", task, possible, where=where)
    return task


def _configure(config_class: Any, options: Mapping[str, str], where: str) -> Any:
    """The configuration with the user's fields over the defaults, and everything off that cannot be traced."""
    default = config_class()
    fields = {**default.to_dict(), **{alias: getattr(default, field) for alias, field in default.attribute_map.items()}}
    values: dict[str, Any] = {}
    for option, text in options.items():
        if option in fields:
            values[option] = _parse_field(option, text, fields[option], where)
        elif option not in _OWN_OPTIONS:
            raise unknown_name("option", option, [*fields, *_OWN_OPTIONS], where=where)
    if "num_labels" in options:
        values["num_labels"] = _positive("num_labels", options["num_labels"], where)
    if "image" in options and "image_size" in fields:
        values["image_size"] = _positive("image", options["image"], where)
    try:
        return config_class(**{**_neutral(fields), **values})
    except Exception as error:  # transformers' validators raise many kinds, all about these values
        raise JogakError(f"transformers rejects the options: {_first_line(error)}", where=where) from error


def _neutral(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values with which a model of any configuration is static and deterministic."""
    values: dict[str, Any] = {"return_dict": True, "experts_implementation": "batched_mm", "architectures": []}
    values |= {name: 0.0 for name, value in fields.items() if _DROPOUT.search(name) and value}
    if "use_cache" in fields:
        values["use_cache"] = False
    if fields.get("is_encoder_decoder"):
        values["decoder_start_token_id"] = fields.get("pad_token_id") or 0
    # Only generation uses these two; their defaults do not fit a smaller vocabulary.
    return values | {name: None for name in ("bos_token_id", "eos_token_id") if name in fields}


def _parse_field(name: str, text: str, default: Any, where: str) -> Any:
    """Read the text of a field by the type of its default value; JSON where the default tells nothing."""
    if isinstance(default, list | tuple) and not text.startswith("["):
        kind = type(default[0]) if default else str
        return [parse_value(name, part.strip(), kind, where) for part in text.split(",")]
    if isinstance(default, bool | int | float | str):
        return parse_value(name, text, type(default), where)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _positive(name: str, text: str, where: str) -> int:
    number: int = parse_value(name, text, int, where)
    require_positive(name, number, where)
    return number


def _sizes(config: Any, options: Mapping[str, str], where: str) -> _Sizes:
    def size(name: str, default: int) -> int:
        return _positive(name, options[name], where) if name in options else default

    longest = getattr(config, "max_position_embeddings", None) or _LONGEST_DEFAULT_SEQUENCE
    sequence = size("sequence", min(longest, _LONGEST_DEFAULT_SEQUENCE))
    if sequence > longest and hasattr(config, "max_position_embeddings"):
        field = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
        message = f"option 'sequence' is {sequence}, but the model has {longest} positions"
        raise JogakError(message, where=where, hint=f"raise {field} as well")
    image = getattr(config, "image_size", None) or size("image", _DEFAULT_IMAGE)
    labels: bool = parse_value("labels", options.get("labels", "true"), bool, where)
    return _Sizes(size("batch", _DEFAULT_BATCH), sequence, image, labels)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
