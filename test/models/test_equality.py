"""Sharded equals unsharded equals PyTorch, for whole models. `bench/equality.py` runs every mesh and strategy."""

from __future__ import annotations

import pytest

from jogak.testing.equality import Case, check

TINY = {
    "mlp": "zoo:mlp?layers=3&width=32&features=16&classes=8&batch=16",
    "gpt2": "zoo:gpt2?layers=1&heads=8&width=64&vocab=96&context=16&sequence=16&batch=8",
    "llama": "zoo:llama?layers=2&heads=8&kv_heads=4&width=64&hidden=96&vocab=96&sequence=16&batch=8",
    "fused": "zoo:llama?layers=1&heads=8&kv_heads=4&width=64&hidden=96&vocab=96&sequence=16&batch=8&fused=true",
    "bert": "zoo:bert?layers=1&heads=8&width=64&vocab=96&context=16&sequence=16&batch=8",
    "vit": "zoo:vit?layers=1&heads=8&width=64&image=32&patch=8&classes=16&batch=8",
    "resnet": "zoo:resnet?depth=18&width=8&image=32&classes=16&batch=8",
    "mobilenet_v2": "zoo:mobilenet_v2?width=0.25&stages=3&image=32&classes=16&batch=8",
    "unet": "zoo:unet?levels=2&width=16&groups=4&image=16&batch=8",
    "moe": "zoo:moe?layers=1&heads=4&width=32&hidden=64&experts=8&vocab=64&sequence=16&batch=8",
}
HUGGING_FACE = {
    "gpt2": "hf:gpt2?n_layer=1&n_embd=64&n_head=4&vocab_size=96&n_positions=32&batch=4&sequence=16",
    "llama": "hf:llama?num_hidden_layers=1&hidden_size=64&intermediate_size=96&num_attention_heads=4"
    "&num_key_value_heads=2&vocab_size=96&batch=4&sequence=16",
    "phi3": "hf:phi3?num_hidden_layers=1&hidden_size=64&intermediate_size=96&num_attention_heads=4&pad_token_id=0"
    "&num_key_value_heads=2&vocab_size=96&batch=4&sequence=16",
    "bert": "hf:bert?num_hidden_layers=1&hidden_size=64&intermediate_size=128&num_attention_heads=4&vocab_size=96"
    "&batch=4&sequence=16",
    "vit": "hf:vit?num_hidden_layers=1&hidden_size=64&intermediate_size=128&num_attention_heads=4&image_size=32"
    "&patch_size=8&batch=4&image=32",
    "resnet": "hf:resnet?embedding_size=16&hidden_sizes=16,32&depths=1,1&batch=4&image=32",
}
PLANS = [("a=2,b=2", "mixed"), ("a=4", "data"), ("a=2,b=2,c=2", "tensor"), ("a=2,b=4", "mixed"), ("a=2", "tensor")]


def assert_equal(case: Case, tolerance: float) -> None:
    verdict = check(case)
    assert verdict.error <= tolerance, f"{verdict.worst}: relative error {verdict.error:.2e}"
    assert verdict.exact_error <= 1e-5
    assert verdict.counted == verdict.promised


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_zoo_model_on_every_mesh(model: str, training: bool) -> None:
    for mesh, strategy in PLANS if training else PLANS[:2]:
        assert_equal(Case(TINY[model], training, mesh, strategy), 1e-5)


@pytest.mark.parametrize("model", HUGGING_FACE)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_hugging_face_model(model: str, training: bool) -> None:
    pytest.importorskip("transformers")
    spec = HUGGING_FACE[model] if training else f"{HUGGING_FACE[model]}&labels=false"
    assert_equal(Case(spec, training, "a=2,b=2", "mixed"), 1e-5)


@pytest.mark.parametrize("model", ["gpt2", "mobilenet_v2", "moe"])
def test_mixed_precision_step(model: str) -> None:
    assert_equal(Case(TINY[model], True, "a=2,b=2", "mixed", "bf16"), 2e-2)
