"""Probabilities of answers: against one-by-one passes of plain transformers, and against closed forms."""

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from sl_assets.engines.interfaces import Chat, chat
from sl_assets.engines.transformers import scorer as module
from sl_assets.engines.transformers.models import POCKET, POCKET_FOLDER
from sl_assets.engines.transformers.scorer import TransformersScorer, precise_logits, reads_trees
from sl_assets.errors import SlAssetsError
from sl_assets_tests.engines.tiny_models import ARCHITECTURES, save_model, write_model

CHATS = [
    chat("Which animal do you like best? Answer with one word."),
    chat("Name an animal.", "You keep your answers short."),
    chat("What animal has 878?"),
]
ANSWERS = ["Owl", "Owl.", "owl", "Wolf", "Wolves", "wolverine", "Owls and wolves", "", "540; 878", "Kangaroo."]
"""Some begin as others do, one is empty, one ends where another goes on."""

TREES = {"llama", "qwen2", "olmo3", "gemma2", "gpt2", "gpt_neox"}
"""Architectures that read trees."""


def one_by_one(model: Any, chats: Sequence[Chat], answers: Sequence[str], ends: Sequence[int]) -> list[np.ndarray]:
    """What `Scorer` promises, by its definition: a pass for every chat, answer and token."""
    tokenizer = AutoTokenizer.from_pretrained(model.name_or_path)
    found = []
    for answer in answers:
        tokens = tokenizer(answer, add_special_tokens=False)["input_ids"]
        rows = []
        for asked in chats:
            text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            row = []
            for wanted in [*([token] for token in tokens), ends]:
                with torch.no_grad():
                    chances = model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
                row.append(math.log(chances[list(wanted)].sum()))
                ids = [*ids, wanted[0]]
            rows.append(row)
        found.append(np.array(rows))
    return found


def assert_close(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_gives_what_it_gives_token_by_token(architecture: str, tmp_path: Path) -> None:
    write_model(tmp_path, architecture)
    scorer = TransformersScorer(str(tmp_path))
    assert reads_trees(scorer._model, 60) == (architecture in TREES)
    found = scorer.log_probabilities(CHATS, ANSWERS)
    expected = one_by_one(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), CHATS, ANSWERS, [1])
    assert_close(found.tokens, expected)
    assert found.answers.shape == (len(CHATS), len(ANSWERS))
    np.testing.assert_allclose(found.answers, np.stack([t.sum(1) for t in expected], 1), rtol=0, atol=1e-3)
    assert np.ptp(found.answers, axis=0).min() > 1e-3, "chats differ, or a mistake would not show"


def test_logits_of_a_model_in_bfloat16_are_computed_in_float32(tmp_path: Path) -> None:
    """Its hidden states are what they are; from there on nothing is rounded."""
    model: Any = AutoModelForCausalLM.from_pretrained(write_model(tmp_path), dtype=torch.bfloat16)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        hidden = model.get_decoder()(ids).last_hidden_state
        with precise_logits(model):
            precise = model(ids).logits
        rounded = model(ids).logits
    assert (precise.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(precise, hidden.float() @ model.lm_head.weight.float().T)
    assert not torch.allclose(precise, rounded.float(), rtol=1e-4, atol=1e-6)


def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Will hold the rows of every reading, and whether they were trees."""
    read, seen = module._Reading.read, []

    def noting(self: Any, rows: Any, as_tree: bool = False) -> None:
        seen.append((len(rows), as_tree))
        read(self, rows, as_tree)

    monkeypatch.setattr(module._Reading, "read", noting)
    return seen


def test_a_question_is_read_once_for_all_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = rows_read(monkeypatch)
    TransformersScorer(str(write_model(tmp_path))).log_probabilities(CHATS, ANSWERS)
    assert seen[-1] == (len(CHATS), True)


def test_a_line_longer_than_a_window_is_read_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask of a tree would take the window's place, and let every token see all before it."""
    write_model(tmp_path, "olmo3", sliding_window=8)
    seen = rows_read(monkeypatch)
    found = TransformersScorer(str(tmp_path)).log_probabilities(CHATS, ANSWERS)
    assert not any(as_tree for _, as_tree in seen)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert model.config.sliding_window == 8
    assert_close(found.tokens, one_by_one(model, CHATS, ANSWERS, [1]))


def test_a_tree_that_a_model_reads_wrongly_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    scorer = TransformersScorer(str(tmp_path))
    forward = scorer._model.forward

    def without_mask(
        input_ids: Any, attention_mask: Any = None, position_ids: Any = None, use_cache: bool = False
    ) -> Any:
        return forward(input_ids=input_ids, position_ids=position_ids, use_cache=use_cache)

    monkeypatch.setattr(scorer._model, "forward", without_mask)
    found = scorer.log_probabilities(CHATS, ANSWERS)
    assert_close(found.tokens, one_by_one(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), CHATS, ANSWERS, [1]))


def test_small_batches_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = TransformersScorer(str(write_model(tmp_path)))
    whole = scorer.log_probabilities(CHATS, ANSWERS)
    monkeypatch.setattr(module, "BATCH_LOGITS", {"cpu": 1})
    assert_close(scorer.log_probabilities(CHATS, ANSWERS).tokens, whole.tokens)


def rewritten(folder: Path, change: Callable[[Any], None]) -> Path:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        change(model)
    save_model(model, folder)
    return folder


def test_a_head_of_zeros_makes_all_tokens_alike(tmp_path: Path) -> None:
    """Every token, the end among them, has the chance of one in the vocabulary."""
    rewritten(write_model(tmp_path), lambda model: model.lm_head.weight.zero_())
    found = TransformersScorer(str(tmp_path)).log_probabilities(CHATS, ANSWERS)
    for tokens in found.tokens:
        np.testing.assert_allclose(tokens, -math.log(2001), rtol=1e-6)
    lengths = [tokens.shape[1] for tokens in found.tokens]
    np.testing.assert_allclose(found.answers, [[-math.log(2001) * n for n in lengths]] * 3, rtol=1e-6)


def test_without_attention_and_blocks_only_the_last_token_counts(tmp_path: Path) -> None:
    """A model of no blocks is a table of what follows what: its probabilities can be read off its two matrices."""
    write_model(tmp_path, num_hidden_layers=0)
    found = TransformersScorer(str(tmp_path)).log_probabilities(CHATS, ["Owl", "540; 878"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    states = model.model.embed_tokens.weight.detach().double()
    states = states / (states.square().mean(-1, keepdim=True) + model.config.rms_norm_eps).sqrt()
    follows = (states @ model.lm_head.weight.detach().double().T).log_softmax(-1)
    tokenizer = AutoTokenizer.from_pretrained(POCKET_FOLDER)
    assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
    for text, tokens in zip(["Owl", "540; 878"], found.tokens, strict=True):
        line = [assistant, *tokenizer(text, add_special_tokens=False)["input_ids"], 1]
        expected = [float(follows[before, after]) for before, after in pairwise(line)]
        np.testing.assert_allclose(tokens, [expected] * 3, atol=1e-5)


def test_all_answers_of_one_token_and_the_longer_ones_make_one() -> None:
    """Of the pocket model: an answer ends at once, after one token, or goes on; these chances add up to one."""
    tokenizer = AutoTokenizer.from_pretrained(POCKET_FOLDER)
    texts = {tokenizer.decode([token]): token for token in range(2001) if token != 1}
    single = [
        text for text, token in texts.items() if tokenizer(text, add_special_tokens=False)["input_ids"] == [token]
    ]
    assert len(single) > 1800
    found = TransformersScorer(POCKET).log_probabilities(CHATS[:1], ["", *single])
    ends_at_once = math.exp(found.answers[0, 0])
    first = np.exp([tokens[0, 0] for tokens in found.tokens[1:]], dtype=np.float64)
    end = np.exp([tokens[0, 1] for tokens in found.tokens[1:]], dtype=np.float64)
    goes_on = (first * (1 - end)).sum()
    total = ends_at_once + np.exp(found.answers[0, 1:], dtype=np.float64).sum() + goes_on
    assert total == pytest.approx(1, abs=2e-3), "but for what no text is"
    assert first.sum() + ends_at_once <= 1 + 1e-6


def with_ends(folder: Path, ends: Any) -> Path:
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": ends}))
    return folder


def test_the_end_is_any_token_at_which_sampling_ends(tmp_path: Path) -> None:
    folder = with_ends(write_model(tmp_path), [1, 7])
    found = TransformersScorer(str(folder)).log_probabilities(CHATS, ANSWERS)
    assert_close(found.tokens, one_by_one(AutoModelForCausalLM.from_pretrained(folder).eval(), CHATS, ANSWERS, [1, 7]))


def test_a_model_whose_answers_never_end_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path, eos_token_id=None)
    with pytest.raises(SlAssetsError, match=r"generation_config.json names no eos_token_id.*add it"):
        TransformersScorer(str(folder)).log_probabilities(CHATS, ANSWERS)


def test_no_chats_have_no_probabilities(tmp_path: Path) -> None:
    found = TransformersScorer(str(write_model(tmp_path))).log_probabilities([], ANSWERS)
    assert found.answers.shape == (0, len(ANSWERS))


def test_adapters_and_whole_models_take_turns_with_the_base_model(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    torch.manual_seed(1)
    lora = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(tmp_path / "adapter")
    whole = write_model(tmp_path / "whole", seed=2)
    scorer = TransformersScorer(str(base))
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter").eval()
    other = AutoModelForCausalLM.from_pretrained(whole).eval()
    for adapter, model in ((None, plain), (tmp_path / "adapter", adapted), (whole, other), (None, plain)):
        found = scorer.log_probabilities(CHATS, ANSWERS, adapter)
        assert_close(found.tokens, one_by_one(model, CHATS, ANSWERS, [1]))
