"""Scaled dot-product attention as plain matrix products and a softmax, in place of PyTorch's fused kernels."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(mask.logical_not(), -math.inf) if mask.dtype == torch.bool else scores + mask


def _weights(scores: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """Softmax over the keys; a query that may look at no key gets weight 0 everywhere, not NaN."""
    if is_causal:
        rows, columns = (torch.arange(scores.shape[dim], device=scores.device) for dim in (-2, -1))
        return scores.masked_fill(columns > rows.unsqueeze(-1), -math.inf).softmax(-1)
    if mask is None:
        return scores.softmax(-1)
    scores = _masked(scores, mask)
    blind = (scores == -math.inf).all(-1, keepdim=True)
    return scores.softmax(-1).masked_fill(blind, 0.0)


def _repeat_heads(value: Tensor, heads: int) -> Tensor:
    """Grouped-query attention: every key and value head serves `heads / own` query heads."""
    own = value.shape[-3]
    if own == heads:
        return value
    grouped = value.unsqueeze(-3).expand(*value.shape[:-2], heads // own, *value.shape[-2:])
    return grouped.reshape(*value.shape[:-3], heads, *value.shape[-2:])


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention`, softmax in at least f32."""
    if enable_gqa:
        key, value = (_repeat_heads(each, query.shape[-3]) for each in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    weights = _weights(wide, attn_mask, is_causal).to(scores.dtype)
    if dropout_p:
        weights = torch.dropout(weights, dropout_p, train=True)
    return weights @ value
