"""Every model of the zoo: published sizes on the meta device, a real step at small sizes, a trace without values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx

from jogak import zoo
from jogak.zoo.entry import Entry
from jogak.zoo.moe import route
from jogak.zoo.unet import repeat_pixels

TEXT = {"layers": "2", "heads": "4", "width": "32", "vocab": "64", "batch": "4", "sequence": "8"}
SMALL = {
    "bert": TEXT | {"context": "16"},
    "gpt2": TEXT | {"context": "16"},
    "llama": TEXT | {"kv_heads": "2", "hidden": "48"},
    "mlp": {"layers": "3", "width": "32", "features": "16", "classes": "8", "batch": "8"},
    "mobilenet_v2": {"width": "0.25", "stages": "3", "image": "32", "classes": "8", "batch": "4"},
    "moe": TEXT | {"hidden": "64", "experts": "4"},
    "moe balanced": TEXT | {"hidden": "64", "experts": "4", "balance": "0.01"},
    "resnet": {"depth": "18", "width": "8", "image": "32", "classes": "8", "batch": "4"},
    "resnet bottleneck": {"depth": "50", "width": "4", "image": "32", "classes": "8", "batch": "4"},
    "unet": {"levels": "2", "width": "8", "groups": "4", "image": "16", "batch": "4"},
    "unet nearest": {"levels": "2", "width": "8", "groups": "4", "image": "16", "batch": "4", "upsample": "nearest"},
    "vit": {"layers": "2", "heads": "4", "width": "32", "image": "16", "patch": "4", "classes": "8", "batch": "4"},
}


def small(case: str) -> Entry:
    torch.manual_seed(0)
    return zoo.build(case.split()[0], SMALL[case])


def on_meta(name: str, options: dict[str, str]) -> Entry:
    with torch.device("meta"):
        return zoo.build(name, options)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("bert", {}, 109_514_298),
        ("gpt2", {}, 124_439_808),
        ("gpt2", {"preset": "xl"}, 1_557_611_200),
        ("llama", {"preset": "8b"}, 8_030_261_248),
        ("mobilenet_v2", {}, 3_504_872),
        ("resnet", {}, 25_557_032),
        ("resnet", {"depth": "18"}, 11_689_512),
        ("resnet", {"widen": "2"}, 68_883_240),
        ("vit", {}, 86_567_656),
        ("vit", {"preset": "large"}, 304_326_632),
    ],
)
def test_has_the_published_number_of_parameters(name: str, options: dict[str, str], parameters: int) -> None:
    assert sum(p.numel() for p in on_meta(name, options).module.parameters()) == parameters


@pytest.mark.parametrize("name", zoo.names())
def test_default_sizes_build_on_meta(name: str) -> None:
    entry = on_meta(name, {})
    tensors = [*entry.module.parameters(), *entry.module.buffers(), *entry.args, *entry.kwargs.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_every_model_has_a_small_case() -> None:
    assert {case.split()[0] for case in SMALL} == set(zoo.names())


@pytest.mark.parametrize("case", SMALL)
def test_trains_on_real_data(case: str, train: Callable[[Entry], Tensor]) -> None:
    entry = small(case)
    assert torch.isfinite(train(entry))
    gradients = {name: parameter.grad for name, parameter in entry.module.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []


@pytest.mark.slow
@pytest.mark.parametrize("case", SMALL)
def test_traces_with_backward_under_fake_tensors(case: str, trace: Callable[[Entry], fx.GraphModule]) -> None:
    graph = trace(small(case))
    loss, *gradients = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    assert loss.meta["val"].shape == ()
    assert None not in gradients


@pytest.mark.parametrize("case", SMALL)
def test_computes_in_the_dtype_of_its_parameters(case: str) -> None:
    entry = small(case)
    entry.module.to(torch.float64)
    wide = [value.double() if value.is_floating_point() else value for value in entry.args]
    assert entry.module(*wide, **entry.kwargs).dtype == torch.float64


def test_same_seed_builds_the_same_weights() -> None:
    first, second = small("gpt2").module.state_dict(), small("gpt2").module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_causal_model_does_not_see_the_future() -> None:
    for case in ("gpt2", "llama", "moe"):
        entry = small(case)
        tokens = entry.args[0]
        changed = tokens.clone()
        changed[:, -1] = (changed[:, -1] + 1) % 64
        before, after = entry.module(tokens), entry.module(changed)
        torch.testing.assert_close(before[:, :-1], after[:, :-1])
        assert not torch.allclose(before[:, -1], after[:, -1])


def test_gpt2_starts_near_the_uniform_loss(train: Callable[[Entry], Tensor]) -> None:
    assert train(small("gpt2")).item() == pytest.approx(torch.tensor(64.0).log().item(), rel=0.05)


def test_grouped_queries_share_their_key_value_head() -> None:
    torch.manual_seed(0)
    grouped = zoo.build("llama", SMALL["llama"])
    full = zoo.build("llama", SMALL["llama"] | {"kv_heads": "4"})
    weights = grouped.module.state_dict()
    for name, weight in weights.items():
        if name.endswith(("attn.k.weight", "attn.v.weight")):
            weights[name] = weight.view(2, 1, 8, 32).expand(2, 2, 8, 32).reshape(32, 32)
    full.module.load_state_dict(weights)
    torch.testing.assert_close(full.module(*grouped.args), grouped.module(*grouped.args))


def test_rotary_attention_depends_on_distance_only() -> None:
    from jogak.zoo.llama import rotary_angles, rotate

    q, k = torch.randn(16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    angles = rotary_angles(8, 16, 10000.0, q)
    scores = rotate(q.expand(8, 16), *angles) @ rotate(k.expand(8, 16), *angles).T
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1])


def test_repeating_pixels_is_nearest_neighbour_upsampling() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(repeat_pixels(x), torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def test_routing_takes_two_experts_and_respects_capacity() -> None:
    torch.manual_seed(0)
    probabilities = torch.randn(2, 16, 4).softmax(-1)
    dispatch, combine, first = route(probabilities, slots=16)
    assert torch.equal(dispatch.sum((2, 3)), torch.full((2, 16), 2.0))
    assert dispatch.sum(1).max() == 1
    torch.testing.assert_close(combine.sum((2, 3)), torch.ones(2, 16))
    assert torch.equal(first.argmax(-1), probabilities.argmax(-1))
    chosen = dispatch.sum(3).bool()
    torch.testing.assert_close((probabilities * chosen).sum(-1), probabilities.topk(2).values.sum(-1))
    assert route(probabilities, slots=2)[0].sum(1).max() == 1
    assert route(probabilities, slots=2)[0].sum((1, 3)).max() == 2


def test_balance_adds_to_the_loss_of_the_model(train: Callable[[Entry], Tensor]) -> None:
    plain = small("moe balanced").module
    entry = small("moe balanced")
    plain.balance = 0.0
    without = plain(*entry.args, **entry.kwargs)
    assert entry.module(*entry.args, **entry.kwargs) > without
    assert entry.loss is None
