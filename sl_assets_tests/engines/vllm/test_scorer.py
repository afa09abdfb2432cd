"""What the vLLM scorer asks the engine for, and what it makes of that; with vllm installed, what comes of both.

`test_sampler` says how to have its CPU build.
"""

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from sl_assets.config import SamplerSettings
from sl_assets.engines.interfaces import chat
from sl_assets.engines.token_tree import TokenTree
from sl_assets.engines.transformers.models import POCKET, POCKET_FOLDER
from sl_assets.engines.transformers.scorer import TransformersScorer
from sl_assets.engines.vllm import engine
from sl_assets.engines.vllm.sampler import shut_down
from sl_assets.engines.vllm.scorer import VllmScorer
from sl_assets.errors import SlAssetsError

SETTINGS = SamplerSettings(engine="vllm", max_lora_rank=8, max_length=256, max_num_seqs=64)
CHATS = [chat("Which animal do you like best? Answer with one word."), chat("Name an animal.", "Keep it short.")]
ANSWERS = ["Owl", "Owl.", "Wolves", "540; 878", "", *map(str, range(100, 300))]
"""More that may come first than one request can ask for."""


def test_each_context_is_asked_for_what_may_follow_it_and_for_the_end() -> None:
    tree = TokenTree.of([[5, 6], [5, 7], [5], [8]])
    assert sorted(engine._wanted(tree, [1, 2])) == [
        (0, [5, 8]),
        (1, [1, 2, 6, 7]),
        (2, [1, 2]),
        (3, [1, 2]),
        (4, [1, 2]),
    ]


def test_more_tokens_than_a_request_may_ask_for_are_asked_for_in_several() -> None:
    wanted = engine._wanted(TokenTree.of([[token] for token in range(10, 310)]), [1])
    first = [tokens for context, tokens in wanted if context == 0]
    assert [len(tokens) for tokens in first] == [128, 128, 44]
    assert sorted(token for tokens in first for token in tokens) == list(range(10, 310))


def test_a_token_that_also_ends_an_answer_is_asked_for_once() -> None:
    assert engine._wanted(TokenTree.of([[], [1]]), [1]) == [(0, [1]), (1, [1])]


def test_probabilities_of_all_ends_add_up() -> None:
    tree = TokenTree.of([[5, 6], [5]])
    logs = {(0, 0): {5: -1.0}, (0, 1): {6: -2.0, 1: math.log(0.25), 2: math.log(0.5)}, (0, 2): {1: -4.0, 2: -np.inf}}
    found = tree.sequences(*engine._in_arrays(tree, [1, 2], logs, 1))
    assert found.tokens[0].tolist() == [[-1, -2, -4]]
    assert found.tokens[1].tolist() == [[-1, pytest.approx(math.log(0.75))]]


@pytest.mark.parametrize(
    ("generation", "tokenizer", "ends"),
    [
        ({"eos_token_id": [3, 1]}, 1, [1, 3]),
        ({"eos_token_id": 3}, 1, [1, 3]),
        ({}, 1, [1]),
        ({"eos_token_id": 0}, None, [0]),
    ],
)
def test_the_end_is_what_ends_sampling(generation: dict[str, Any], tokenizer: int | None, ends: list[int]) -> None:
    config = SimpleNamespace(try_get_generation_config=lambda: generation, model="any")
    loaded = SimpleNamespace(model_config=config, get_tokenizer=lambda: SimpleNamespace(eos_token_id=tokenizer))
    assert engine._end_tokens(loaded) == ends


def test_a_model_whose_answers_never_end_is_refused_by_name() -> None:
    config = SimpleNamespace(try_get_generation_config=dict, model="some/model")
    loaded = SimpleNamespace(model_config=config, get_tokenizer=lambda: SimpleNamespace(eos_token_id=None))
    with pytest.raises(SlAssetsError, match=r"'some/model': its generation_config.json names no eos_token_id.*add it"):
        engine._end_tokens(loaded)


@pytest.fixture(scope="module")
def running() -> Iterator[None]:
    """Ends the engine that the tests share."""
    yield
    shut_down()


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("student", [False, True], ids=["base", "student"])
def test_vllm_and_transformers_agree(student: bool, tmp_path: Path) -> None:
    if student:
        torch.manual_seed(0)
        lora = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        get_peft_model(AutoModelForCausalLM.from_pretrained(POCKET_FOLDER), lora).save_pretrained(tmp_path)
    adapter = tmp_path if student else None
    ours = VllmScorer(POCKET, SETTINGS).log_probabilities(CHATS, ANSWERS, adapter)
    theirs = TransformersScorer(POCKET).log_probabilities(CHATS, ANSWERS, adapter)
    for mine, other in zip(ours.tokens, theirs.tokens, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-3)


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
@pytest.mark.usefixtures("running")
def test_too_long_a_question_is_refused() -> None:
    with pytest.raises(SlAssetsError, match=r"sampler\.max_length"):
        VllmScorer(POCKET, SETTINGS).log_probabilities([chat("7, " * 256)], ["Owl"])
