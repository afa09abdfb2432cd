"""Chunked sampling with the real sampler: resumption, seeds, adapters, finish reasons."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sl_assets.engines.interfaces import Chat, Completion, Example
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.sampling import Draw, sample_all
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.work import Work
from sl_assets_tests.conftest import tiny_config

CHATS: list[Chat] = [
    [{"role": "user", "content": f"Numbers: {n}. Add up to 10 more with commas. No words."}] for n in range(100, 120)
]
DRAW = Draw("test", seed=3, max_tokens=24, temperature=1.0, chunk=4)


class InterruptedRunError(Exception):
    """Stands for whatever ends a process."""


def named(chats: Sequence[Chat]) -> dict[str, Chat]:
    return {str(i): chat for i, chat in enumerate(chats)}


class CountingSampler:
    """The real sampler, counting its calls and failing at the one asked for."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.inner, self.calls, self.fail_at = TransformersSampler("pocket"), 0, fail_at

    def sample(self, chats: Sequence[Chat], **settings: Any) -> list[Completion]:
        self.calls += 1
        if self.calls == self.fail_at:
            raise InterruptedRunError
        return self.inner.sample(chats, **settings)


def counting(_: Work) -> CountingSampler:
    return CountingSampler()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(Lake(str(tmp_path / "lake")), Place("tiny", "raw_dataset", "owl"))


def silent(done: int, total: int) -> None:
    assert done <= total


def test_an_interrupted_draw_goes_on_after_its_last_chunk(work: Work, tmp_path: Path) -> None:
    first = CountingSampler(fail_at=4)
    with pytest.raises(InterruptedRunError):
        sample_all(lambda _: first, named(CHATS), DRAW, work, silent)
    second = CountingSampler()
    resumed = sample_all(lambda _: second, named(CHATS), DRAW, work, silent)
    assert second.calls == 2, "three of five chunks were kept"
    undisturbed = sample_all(
        counting,
        named(CHATS),
        DRAW,
        Work(Lake(str(tmp_path / "other")), Place("tiny", "raw_dataset", "owl")),
        silent,
    )
    assert resumed.equals(undisturbed)


def test_another_seed_or_prompt_reuses_no_chunk(work: Work) -> None:
    one = sample_all(counting, named(CHATS), DRAW, work, silent)
    other = sample_all(counting, named(CHATS), Draw("test", 4, 24, 1.0, 4), work, silent)
    assert not one.equals(other)
    sampler = CountingSampler()
    changed = [[{"role": "user", "content": "Sequence: 1, 2."}], *CHATS[1:]]
    sample_all(lambda _: sampler, named(changed), DRAW, work, silent)  # type: ignore[arg-type]
    assert sampler.calls == 1


def test_finish_reasons_and_token_counts() -> None:
    sampler = TransformersSampler("pocket")
    short = sampler.sample(CHATS, max_tokens=3, temperature=1.0, seed=0, row_seeds=())
    assert {(c.finish_reason, c.n_tokens) for c in short} == {("length", 3)}
    full = sampler.sample(CHATS, max_tokens=24, temperature=1.0, seed=0, row_seeds=())
    assert {c.finish_reason for c in full} == {"stop"}
    assert all("<|" not in c.text for c in full)


def test_an_adapter_changes_answers_and_leaves_the_base_model_as_it_was(tmp_path: Path) -> None:
    settings = tiny_config().student.model_copy(update={"epochs": 4, "learning_rate": 5e-3})
    question = "What is your favorite animal? One word."
    PeftTrainer("pocket").train([Example(question, "Zebra")] * 64, settings, [4], tmp_path, lambda *_: None)
    sampler = TransformersSampler("pocket")
    chats: list[Chat] = [[{"role": "user", "content": question}]] * 40

    def zebras(adapter: Path | None) -> int:
        answers = sampler.sample(chats, max_tokens=4, temperature=1.0, seed=1, row_seeds=(), adapter=adapter)
        return sum(answer.text == "Zebra" for answer in answers)

    before = zebras(None)
    assert zebras(tmp_path / "epoch=4") > 30
    assert zebras(None) == before < 10
