"""The zoo computes what `transformers` computes: same weights under other names, same logits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from jogak import zoo
from jogak.ingress import hf

pytest.importorskip("transformers")

Renames = list[tuple[str, str | Callable[[re.Match[str]], str]]]

GPT2: Renames = [
    (r"^transformer\.", ""),
    (r"^h\.", "blocks."),
    ("c_attn", "qkv"),
    ("mlp.c_proj", "mlp.down"),
    ("c_proj", "proj"),
    ("c_fc", "up"),
]
LLAMA: Renames = [
    (r"^model\.", ""),
    ("embed_tokens", "wte"),
    (r"^layers", "blocks"),
    (r"self_attn\.([qkv])_proj", r"attn.\1"),
    (r"self_attn\.o_proj", "attn.proj"),
    (r"(gate|up|down)_proj", r"\1"),
    ("input_layernorm", "norm_1"),
    ("post_attention_layernorm", "norm_2"),
    (r"^norm\.", "norm_f."),
    ("lm_head", "head"),
]
BERT: Renames = [
    (r"^bert\.embeddings\.", ""),
    ("word_embeddings", "wte"),
    ("position_embeddings", "wpe"),
    ("token_type_embeddings", "wse"),
    (r"^LayerNorm", "ln_e"),
    (r"^bert\.encoder\.layer", "blocks"),
    (r"attention\.self\.([qkv])[a-z]+", r"attn.\1"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"attention\.output\.LayerNorm", "ln_1"),
    (r"intermediate\.dense", "mlp.up"),
    (r"output\.dense", "mlp.down"),
    (r"output\.LayerNorm", "ln_2"),
    (r"^cls\.predictions\.(transform\.)?", "head."),
    (r"head\.LayerNorm", "head.ln"),
]
VIT: Renames = [
    (r"^vit\.(embeddings\.)?", ""),
    ("cls_token", "cls"),
    ("position_embeddings", "pos"),
    (r"patch_embeddings\.projection", "patch"),
    (r"^layers", "blocks"),
    (r"attention\.o_proj", "attn.proj"),
    ("layernorm_before", "ln_1"),
    ("layernorm_after", "ln_2"),
    ("fc1", "up"),
    ("fc2", "down"),
    (r"^layernorm", "ln_f"),
    ("classifier", "head"),
]
RESNET: Renames = [
    (r"^resnet\.(encoder\.)?", ""),
    (r"embedder\.embedder\.convolution", "stem"),
    (r"embedder\.embedder\.normalization", "bn"),
    (r"(stages\.\d+)\.layers", r"\1"),
    (r"shortcut\.convolution", "shortcut.0"),
    (r"shortcut\.normalization", "shortcut.1"),
    (r"layer\.(\d)\.(\w+)", lambda match: f"{'conv' if match[2] == 'convolution' else 'bn'}_{int(match[1]) + 1}"),
    (r"classifier\.1", "head"),
]

TEXT_HF = {"vocab_size": "64", "sequence": "8", "batch": "2"}
TEXT = {"layers": "2", "heads": "4", "width": "32", "vocab": "64", "sequence": "8", "batch": "2"}
WIDE_HF = {"hidden_size": "32", "num_hidden_layers": "2", "num_attention_heads": "4"}
RESNET_HF = {"embedding_size": "8", "image": "32", "num_labels": "8", "batch": "2"}
RESNET_ZOO = {"width": "8", "image": "32", "classes": "8", "batch": "2"}

CASES = {
    "gpt2": (
        ("gpt2", TEXT_HF | {"n_layer": "2", "n_embd": "32", "n_head": "4", "n_positions": "16"}, GPT2),
        ("gpt2", TEXT | {"context": "16"}),
    ),
    "llama": (
        (
            "llama",
            TEXT_HF | WIDE_HF | {"num_key_value_heads": "2", "intermediate_size": "48", "rms_norm_eps": "1e-5"},
            LLAMA,
        ),
        ("llama", TEXT | {"kv_heads": "2", "hidden": "48"}),
    ),
    "bert": (
        ("bert", TEXT_HF | WIDE_HF | {"intermediate_size": "128", "max_position_embeddings": "16"}, BERT),
        ("bert", TEXT | {"context": "16"}),
    ),
    "vit": (
        (
            "vit",
            WIDE_HF
            | {"intermediate_size": "128", "image": "16", "patch_size": "4", "num_labels": "8", "batch": "2"}
            | {"layer_norm_eps": "1e-6"},
            VIT,
        ),
        (
            "vit",
            {"layers": "2", "heads": "4", "width": "32", "image": "16", "patch": "4", "classes": "8", "batch": "2"},
        ),
    ),
    "resnet-18": (
        (
            "resnet",
            RESNET_HF | {"depths": "2,2,2,2", "hidden_sizes": "8,16,32,64", "layer_type": "basic"},
            RESNET,
        ),
        ("resnet", RESNET_ZOO | {"depth": "18"}),
    ),
    "resnet-50": (
        ("resnet", RESNET_HF | {"hidden_sizes": "32,64,128,256"}, RESNET),
        ("resnet", RESNET_ZOO | {"depth": "50"}),
    ),
}


def renamed(state: Mapping[str, Tensor], renames: Renames) -> dict[str, Tensor]:
    result = {}
    for name, value in state.items():
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


def adapted(state: dict[str, Tensor], expected: Mapping[str, Tensor], *, transpose: bool) -> dict[str, Tensor]:
    """Concatenate separate projections where the zoo has one; transpose the linear weights that are `[in, out]`."""
    for fused in [name for name in expected if ".qkv." in name and name not in state]:
        parts = [fused.replace("attn.qkv", f"attention.{part}_proj") for part in "qkv"]
        state[fused] = torch.cat([state[part] for part in parts])
    linear = ("qkv.weight", "proj.weight", "up.weight", "down.weight")
    return {name: state[name].T if transpose and name.endswith(linear) else state[name] for name in expected}


@pytest.mark.parametrize("case", CASES)
def test_same_weights_give_the_same_logits(case: str) -> None:
    (hf_name, hf_options, renames), (name, options) = CASES[case]
    torch.manual_seed(0)
    theirs = hf.build(hf_name, hf_options | {"labels": "false"})
    ours = zoo.build(name, options).module
    state = renamed(theirs.module.state_dict(), renames)
    ours.load_state_dict(adapted(state, ours.state_dict(), transpose=case == "gpt2"))
    inputs = next(iter(theirs.kwargs.values()))
    segments = [torch.zeros_like(inputs)] if case == "bert" else []
    with torch.no_grad():
        logits = theirs.module(**theirs.kwargs).logits
        torch.testing.assert_close(ours(inputs, *segments), logits, rtol=1e-4, atol=1e-5)
