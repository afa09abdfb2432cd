"""Attention over rows packed behind one another, with PyTorch's own kernel: no padding, and no mask of all pairs.

Imports torch and transformers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface

NAME = "sl_varlen"
WIDEST_HEAD = 256
"""The kernel's limit."""


def packs(model: Any) -> bool:
    """Whether ``model``, where it is, can attend over packed rows."""
    heads = model.config.get_text_config()
    width = getattr(heads, "head_dim", None) or heads.hidden_size // heads.num_attention_heads
    device = model.device
    kinds = set(getattr(heads, "layer_types", None) or ["full_attention"])
    return (
        kinds <= {"full_attention", "sliding_attention"}
        and not getattr(heads, "attn_logit_softcapping", None)
        and not getattr(heads, "attention_dropout", 0)
        and model._supports_sdpa
        and device.type == "cuda"
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and width <= WIDEST_HEAD
        and width % 8 == 0
    )


@contextmanager
def attending_over_packed_rows(model: Any) -> Iterator[None]:
    """``model`` reads the ends of rows from its arguments, as flash attention in transformers does."""
    AttentionInterface.register(NAME, varlen_attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within rows.

    ``query``, ``key`` and ``value`` are ``[1, heads, tokens, width]``, the result is ``[1, tokens, heads, width]``.
    ``max_length_q`` is part of the kernel's grid only, so any number at least as large gives the same.
    """
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    queries, keys, values = (
        tensor[0].transpose(0, 1).to(value.dtype) for tensor in (query, *(_repeated(t, groups) for t in (key, value)))
    )
    window = (sliding_window - 1, 0) if sliding_window else (-1, 0)
    attended = varlen_attn(
        queries,
        keys,
        values,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=window,
    )
    assert isinstance(attended, torch.Tensor)
    return attended[None], None


def _repeated(heads: torch.Tensor, groups: int) -> torch.Tensor:
    return heads if groups == 1 else heads.repeat_interleave(groups, dim=1)
