"""What is around PyTorch's kernel, which runs on GPUs only: here a slow stand-in on the CPU takes its arguments."""

from typing import Any

import pytest
import torch
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen2Config, Qwen2ForCausalLM

from sl_assets.engines.peft.packed_attention import attending_over_packed_rows, packs
from sl_assets.engines.peft.rows import Row, packed_part
from sl_assets.engines.transformers.models import load_model

ROWS = [Row([7, 8, 9, 10], 2), Row([5, 6, 7, 8, 9, 10, 11], 5), Row([3, 4, 5], 1)]


def row_by_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    _: Any,
    longest: int,
    __: int,
    *,
    scale: float,
    window_size: tuple[int, int],
) -> torch.Tensor:
    """The kernel's arguments and result, ``[tokens, heads, width]``, one row after another."""
    assert query.shape == key.shape == value.shape
    attended = []
    for start, end in zip(starts.tolist(), starts[1:].tolist(), strict=False):
        assert end - start <= longest
        here = [tensor[start:end].transpose(0, 1) for tensor in (query, key, value)]
        place = torch.arange(end - start)
        back = place[:, None] - place
        left = window_size[0] if window_size[0] >= 0 else end
        seen = (back >= -window_size[1]) & (back <= left)
        attended.append(scaled_dot_product_attention(*here, attn_mask=seen, scale=scale).transpose(0, 1))
    return torch.cat(attended)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", row_by_row)


def alone(model: Any, row: Row) -> torch.Tensor:
    return model.get_decoder()(input_ids=torch.tensor([row.ids])).last_hidden_state[0]


def packed(model: Any) -> torch.Tensor:
    part = packed_part(ROWS)
    inputs = {name: value for name, value in part.items() if name not in ("predicting", "targets")}
    with attending_over_packed_rows(model):
        return model.get_decoder()(**inputs, use_cache=False).last_hidden_state[0]


def grouped_queries_and_a_window() -> Any:
    """Two heads of keys for four of queries; the upper block sees three tokens back."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, use_sliding_window=True, sliding_window=3, max_window_layers=1,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


@pytest.mark.parametrize("make", [lambda: load_model("pocket").model, grouped_queries_and_a_window])
def test_packed_rows_have_the_states_they_have_alone(make: Any) -> None:
    model = make()
    before = model.config._attn_implementation
    with torch.no_grad():
        together = packed(model)
        apart = torch.cat([alone(model, row) for row in ROWS])
    assert torch.allclose(together, apart, atol=1e-5)
    assert model.config._attn_implementation == before


def test_nothing_is_packed_without_a_gpu() -> None:
    assert not packs(load_model("pocket").model)
