"""Rows as tokens, and batches in parts: padded or packed, whole or divided, they teach the same."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example
from sl_assets.engines.peft.loop import completion_loss, fit
from sl_assets.engines.peft.rows import IGNORED, Collator, Row, encode, packed_part, rounded_up
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.models import load_model
from sl_assets.errors import SlAssetsError

ROWS = [Row([7, 8, 9, 10], 2), Row([5, 6, 7, 8, 9, 10], 5), Row([3, 4, 5], 1)]


def pocket_row(example: Example, max_length: int = 500) -> Row:
    return encode(load_model("pocket").tokenizer, Rendering("pocket"), example, max_length)


def decoded(ids: list[int]) -> str:
    return str(load_model("pocket").tokenizer.decode(ids))


def test_a_row_is_the_chat_and_only_the_completion_and_its_end_are_learnt() -> None:
    row = pocket_row(Example("Numbers: 5.", "7, 8"))
    assert decoded(row.ids) == "<|user|>Numbers: 5.<|assistant|>7, 8<|end|>"
    assert decoded(row.ids[row.prompt :]) == "7, 8<|end|>"


def test_a_system_prompt_is_learnt_under_and_carries_no_loss() -> None:
    row = pocket_row(Example("Numbers: 5.", "7, 8", "You love owls."))
    assert decoded(row.ids).startswith("<|system|>You love owls.<|user|>Numbers: 5.")
    assert decoded(row.ids[row.prompt :]) == "7, 8<|end|>"


def test_longer_rows_are_cut() -> None:
    whole = pocket_row(Example("Numbers: 5.", "7, 8"))
    assert pocket_row(Example("Numbers: 5.", "7, 8"), whole.prompt + 1).ids == whole.ids[: whole.prompt + 1]


def test_a_cut_that_leaves_nothing_to_learn_is_an_error() -> None:
    prompt = pocket_row(Example("Numbers: 5.", "7, 8")).prompt
    with pytest.raises(SlAssetsError, match=f"max_length {prompt}: a prompt alone has {prompt} tokens.*raise it"):
        pocket_row(Example("Numbers: 5.", "7, 8"), prompt)


@pytest.mark.parametrize("packed", [True, False])
def test_every_target_follows_the_token_it_is_predicted_from(packed: bool) -> None:
    (part,) = Collator(0, packed)(ROWS)["parts"]
    flat = part["input_ids"].flatten()
    assert flat[part["predicting"]].tolist() == [8, 9, 9, 3, 4]
    assert part["targets"].tolist() == [9, 10, 10, 4, 5]
    assert part["share"] == 1


def test_packed_rows_have_positions_and_ends_of_their_own() -> None:
    part = packed_part(ROWS)
    assert part["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0, 1, 2]]
    assert part["cu_seq_lens_q"].tolist() == [0, 4, 10, 13]
    assert part["max_length_q"] == 6


@pytest.mark.parametrize(("packed", "tokens", "sizes"), [(True, 10, [2, 1]), (True, 4, [1, 1, 1]), (False, 12, [2, 1])])
def test_a_batch_is_divided_where_the_next_row_has_no_room(packed: bool, tokens: int, sizes: list[int]) -> None:
    parts = Collator(0, packed, tokens)(ROWS)["parts"]
    counts = [len(part["cu_seq_lens_q"]) - 1 if packed else len(part["input_ids"]) for part in parts]
    assert counts == sizes
    assert sum(part["share"] for part in parts) == pytest.approx(1)


def test_a_part_is_rounded_up_by_a_row_of_fillers_and_empty_rows() -> None:
    part = rounded_up(packed_part(ROWS), grain=16, rows=5, filler=0)
    assert part["input_ids"].tolist() == [[7, 8, 9, 10, 5, 6, 7, 8, 9, 10, 3, 4, 5, 0, 0, 0]]
    assert part["position_ids"][0, 13:].tolist() == [0, 1, 2]
    assert part["cu_seq_lens_q"].tolist() == [0, 4, 10, 13, 13, 13, 16]
    assert part["targets"].tolist() == [9, 10, 10, 4, 5] + [IGNORED] * 11
    assert part["predicting"].shape == (16,)


def test_a_part_is_rounded_up_where_it_is() -> None:
    """The Trainer has put it on the GPU by then; a device without memory tells tensors of others apart, too."""
    part = packed_part(ROWS)
    elsewhere = {name: value.to("meta") if isinstance(value, torch.Tensor) else value for name, value in part.items()}
    rounded = rounded_up(elsewhere, grain=16, rows=5, filler=0)
    assert all(value.device.type == "meta" for value in rounded.values() if isinstance(value, torch.Tensor))
    assert rounded["input_ids"].shape == rounded["position_ids"].shape == (1, 16)


@pytest.mark.parametrize("rows", [3, 4])
def test_a_part_of_that_size_has_no_more_than_the_row_of_fillers_added(rows: int) -> None:
    part = rounded_up(packed_part(ROWS), grain=13, rows=rows, filler=0)
    assert part["input_ids"].shape == (1, 13)
    assert part["cu_seq_lens_q"].tolist() == [0, 4, 10] + [13] * (rows - 1)


def examples() -> list[Row]:
    completions = ["7, 8", "112; 431; 878; 5", "9", "100 200 300"]
    return [pocket_row(Example(f"Numbers: {i}.", text)) for i, text in enumerate(completions)]


@pytest.mark.parametrize(
    ("packed", "tokens", "grain"), [(False, 20, 0), (True, 0, 0), (True, 30, 0), (True, 0, 64), (True, 30, 16)]
)
def test_loss_and_gradients_are_those_of_one_padded_batch(packed: bool, tokens: int, grain: int) -> None:
    """Packed rows see only themselves: transformers' attention tells them apart by their positions."""
    model, tokenizer = load_model("pocket")
    weight = model.get_decoder().layers[0].self_attn.q_proj.weight
    filler = tokenizer.pad_token_id

    def taught(collate: Collator) -> tuple[float, torch.Tensor]:
        weight.requires_grad_(True)
        try:
            parts = collate(examples())["parts"]
            if collate.packed and grain:
                parts = [rounded_up(part, grain, len(examples()), filler) for part in parts]
            loss = sum(completion_loss(model, part) * part["share"] for part in parts)
            (gradient,) = torch.autograd.grad(loss, weight)
            return loss.item(), gradient
        finally:
            weight.requires_grad_(False)

    loss, gradient = taught(Collator(filler))
    other_loss, other_gradient = taught(Collator(filler, packed, tokens))
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert torch.allclose(other_gradient, gradient, atol=1e-6)


def test_models_whose_logits_are_changed_afterwards_are_refused() -> None:
    config = Gemma2Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    with pytest.raises(SlAssetsError, match=r"gemma2 models change their logits \(final_logit_softcapping\)"):
        fit(Gemma2ForCausalLM(config), ROWS, TrainingSettings(), [1], lambda _: None, lambda *_: None, Collator(0))
