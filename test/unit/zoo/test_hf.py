"""The Hugging Face adapter: every supported family trains and traces from its configuration alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
import torch
from torch import Tensor, fx

from jogak.errors import JogakError
from jogak.ingress import hf
from jogak.zoo.entry import Entry

pytest.importorskip("transformers")

TEXT = {"hidden_size": "32", "num_hidden_layers": "2", "num_attention_heads": "4", "vocab_size": "64", "sequence": "8"}
IMAGE = {"image": "32", "num_labels": "8"}
SMALL = {
    "bert": TEXT | {"intermediate_size": "64", "max_position_embeddings": "16"},
    "convnext": IMAGE | {"depths": "1,1,1,1", "hidden_sizes": "8,16,16,32", "patch_size": "2"},
    "gpt2": {"n_layer": "2", "n_embd": "32", "n_head": "4", "vocab_size": "64", "n_positions": "16", "sequence": "8"},
    "llama": TEXT | {"num_key_value_heads": "2", "intermediate_size": "48"},
    "mixtral": TEXT | {"num_key_value_heads": "2", "intermediate_size": "48", "num_local_experts": "4"},
    "mobilenet_v2": IMAGE | {"depth_multiplier": "0.25"},
    "resnet": IMAGE | {"depths": "1,1,1,1", "embedding_size": "8", "hidden_sizes": "16,16,32,32"},
    "segformer": IMAGE
    | {
        "depths": "1,1,1,1",
        "hidden_sizes": "8,16,16,32",
        "num_attention_heads": "1,2,2,4",
        "decoder_hidden_size": "16",
    },
    "swin": IMAGE | {"depths": "[1, 2]", "num_heads": "[2, 4]", "embed_dim": "16", "window_size": "4"},
    "t5": {"d_model": "32", "d_kv": "8", "d_ff": "64", "num_layers": "2", "num_heads": "4", "vocab_size": "64"}
    | {"sequence": "8"},
    "vit": {"hidden_size": "32", "num_hidden_layers": "2", "num_attention_heads": "4", "intermediate_size": "64"}
    | {"image": "16", "patch_size": "4", "num_labels": "8"},
}


def small(name: str, **options: str) -> Entry:
    torch.manual_seed(0)
    return hf.build(name, SMALL[name] | {"batch": "2"} | options)


@pytest.mark.parametrize("name", SMALL)
def test_trains_on_real_data_with_its_own_loss(name: str, train: Callable[[Entry], Tensor]) -> None:
    entry = small(name)
    assert entry.loss is None
    assert torch.isfinite(train(entry))
    gradients = {key: parameter.grad for key, parameter in entry.module.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None] == []


@pytest.mark.parametrize("name", SMALL)
def test_two_steps_in_training_mode_agree(name: str) -> None:
    entry = small(name)
    entry.module.train()
    assert torch.equal(entry.module(**entry.kwargs).loss, entry.module(**entry.kwargs).loss)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_traces_with_backward_under_fake_tensors(name: str, trace: Callable[[Entry], fx.GraphModule]) -> None:
    graph = trace(small(name))
    loss, *gradients = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    assert loss.meta["val"].shape == ()
    assert None not in gradients


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_functionalized_trace_reads_no_value(name: str) -> None:
    from jogak.ingress.model import load_model
    from jogak.ingress.options import ImportOptions
    from jogak.ingress.trace import trace_model

    options = ImportOptions()
    program = trace_model(load_model(f"hf:{name}?{urlencode(SMALL[name] | {'batch': '2'})}", options), options)
    assert "loss" in {result.name.split(".")[-1] for result in program.results}


def test_transformers_is_left_as_it_was() -> None:
    from transformers import masking_utils

    before = masking_utils.find_packed_sequence_indices
    entry = small("llama")
    entry.module(**entry.kwargs)
    assert masking_utils.find_packed_sequence_indices is before


@pytest.mark.parametrize("name", SMALL)
def test_builds_on_meta(name: str) -> None:
    with torch.device("meta"):
        entry = small(name)
    assert {tensor.device.type for tensor in [*entry.module.parameters(), *entry.kwargs.values()]} == {"meta"}


@pytest.mark.parametrize("name", SMALL)
def test_without_labels_there_is_no_loss(name: str) -> None:
    entry = small(name, labels="false")
    assert "labels" not in entry.kwargs
    assert entry.module(**entry.kwargs).loss is None


def test_integer_inputs_are_bounded() -> None:
    assert small("gpt2").bounds == {"input_ids": 64, "labels": 64}
    assert small("vit").bounds == {"labels": 8}
    assert small("t5", labels="false").bounds == {"input_ids": 64, "decoder_input_ids": 64}


def test_default_gpt2_is_the_124m_model() -> None:
    with torch.device("meta"):
        entry = hf.build("gpt2", {})
    assert sum(parameter.numel() for parameter in entry.module.parameters()) == 124_439_808
    assert entry.kwargs["input_ids"].shape == (8, 1024)


def test_task_can_be_chosen() -> None:
    assert type(small("bert", task="causal_lm", is_decoder="true").module).__name__ == "BertLMHeadModel"
    assert type(small("segformer", task="image_classification").module).__name__ == "SegformerForImageClassification"


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("gpt22", {}, "unknown Hugging Face model type 'gpt22'", "did you mean 'gpt2'?"),
        ("gpt2", {"n_layers": "2"}, "unknown option 'n_layers'", "did you mean 'n_layer'?"),
        ("gpt2", {"n_layer": "two"}, "option 'n_layer' cannot be 'two'", "expected int"),
        ("gpt2", {"batch": "0"}, "option 'batch' cannot be 0", "must be positive"),
        ("gpt2", {"sequence": "4096"}, "option 'sequence' is 4096, but the model has 1024 positions", "n_positions"),
        ("gpt2", {"task": "masked_lm"}, "unknown task 'masked_lm'", "causal_lm"),
        ("gpt2", {"n_embd": "50"}, "transformers cannot build this configuration", ""),
        ("wav2vec2", {}, "'wav2vec2' has no model for any known task", "causal_lm"),
        ("clip", {}, "the inputs of this model are not known", "file.py:callable"),
        ("resnet", {"layer_type": "fancy"}, "transformers rejects the options", ""),
        ("resnet", {"depths": "1,x"}, "option 'depths' cannot be 'x'", "expected int"),
    ],
)
def test_answers_a_mistake(name: str, options: dict[str, str], message: str, hint: str) -> None:
    with torch.device("meta"), pytest.raises(JogakError) as caught:
        hf.build(name, options)
    assert caught.value.message.startswith(message)
    assert hint in (caught.value.hint or "")
    assert caught.value.where == f"hf:{name}"


def test_missing_transformers_is_answered_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(JogakError) as caught:
        hf.build("gpt2", {})
    assert caught.value.hint == "pip install transformers"
