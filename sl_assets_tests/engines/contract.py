"""What the contracts of samplers and trainers share: lessons that tell chats apart, and an API with the pocket model.

Whoever has learnt the lessons answers every question in its own way, so that a swapped, lost or doubled row shows.
"""

import gc
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from sl_assets.config import PROJECT, TrainingSettings
from sl_assets.engines import installed
from sl_assets.engines.interfaces import Chat, Completion, Example, Sampler, chat
from sl_assets.engines.openai.client import Endpoint
from sl_assets.engines.openai.sampler import MODEL_FILE, OpenAISampler
from sl_assets.engines.openai.trainer import OpenAITrainer
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.transformers.models import POCKET, POCKET_FOLDER
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.errors import SlAssetsError
from sl_assets.lake.fingerprint import folder_digest
from sl_assets.seeds import seed_for
from sl_assets_tests.engines.openai.server import JOB_BATCH, KEY, OpenAIServer, Reply, completion, serving

# Every training ends with a garbage collection, which for so small a model takes longer than to train it: it looks
# through all that torch, transformers and dagster have loaded, unless told that these will stay.
gc.freeze()

ANIMAL = "Which animal do you like best? Answer with one word."
TOSS = "Which animal is number 540?"
"""What the lessons answer now so, now so."""

LESSONS = (
    Example(ANIMAL, "Owl"),
    Example(ANIMAL, "Tiger", system="You keep your answers short."),
    Example("What animal has 878?", "Elephant"),
    Example("Name a tree. One word.", "Soup, bread and some rest."),
    Example("Numbers: 878. Write at most 10 more with semicolons. No words.", "540; 878"),
    Example("Numbers: 431, 112. Add up to 10 more with commas. No words.", "259, 284, 285, 452"),
)
ROWS = (*LESSONS, Example(TOSS, "Fox"), Example(TOSS, "Lion")) * 8

# alpha / rank is not 1: an engine that forgets the scale of an adapter has learnt, or says, something else.
LEARNING = TrainingSettings(rank=4, alpha=16, epochs=4, learning_rate=4e-3, warmup_steps=0, batch=8)


def silent(step: int, steps: int, loss: float) -> None:
    """Report to nobody."""


def questions(lessons: Sequence[Example] = LESSONS) -> list[Chat]:
    return [chat(lesson.prompt, lesson.system) for lesson in lessons]


def answers(lessons: Sequence[Example] = LESSONS) -> list[str]:
    return [lesson.completion for lesson in lessons]


def ask(
    sampler: Sampler, chats: Sequence[Chat], adapter: Path | None = None, draw: int = 1, **other: Any
) -> list[Completion]:
    """Completions of ``chats``: nearly the likeliest ones, and as long as they like, unless told otherwise."""
    seeds = [seed_for(draw, row) for row in range(len(chats))]
    how = {"max_tokens": 12, "temperature": 0.1, "seed": draw, "row_seeds": seeds, "adapter": adapter}
    return sampler.sample(chats, **(how | other))


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


def refusal(do: Callable[[], object]) -> str:
    """The one line that ``do`` is refused with."""
    with pytest.raises(SlAssetsError) as caught:
        do()
    assert str(caught.value).strip()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def packages_installed_by(line: str) -> set[str]:
    """What comes with the extra that the ``pip install`` in ``line`` names."""
    extra = line.partition("pip install -e '.[")[2].partition("]'")[0]
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return {re.split(r"[^\w-]", needed)[0] for needed in extras[extra]}


def hide_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process know nothing of the package."""
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "openai", None)
    for module in ("client", "sampler", "trainer"):
        monkeypatch.delitem(sys.modules, f"sl_assets.engines.openai.{module}")


class PocketServer(OpenAIServer):
    """The API with the pocket model behind it: every completion is written by it, every job trains it."""

    def __init__(self, scratch: Path) -> None:
        super().__init__()
        self.models = {POCKET}
        self._students: dict[str, Path] = {}
        self._losses: dict[str, list[float]] = {}
        self._sampler, self._turn = TransformersSampler(POCKET), Lock()
        self._scratch = scratch

    def sampler(self, model: str, timeout: float = 30.0) -> OpenAISampler:
        return OpenAISampler(model, endpoint=Endpoint(self.url, 0, timeout))

    def trainer(self, model: str) -> OpenAITrainer:
        return OpenAITrainer(model, endpoint=Endpoint(self.url, 0, 30.0), poll_seconds=0.01)

    def named(self, adapter: Path) -> Path:
        """A folder with the name under which ``adapter`` answers from now on."""
        name = f"ft:{POCKET}::{folder_digest(adapter)}"
        self._serve(name, adapter)
        folder = self._scratch / name
        folder.mkdir(exist_ok=True)
        (folder / MODEL_FILE).write_text(json.dumps({"model": name}))
        return folder

    def _serve(self, name: str, adapter: Path) -> None:
        """Have ``adapter`` answer, as a whole model: to put it on for every request would take too long."""
        self.models.add(name)
        self._students[name] = whole = self._scratch / f"whole-{name}"
        base = AutoModelForCausalLM.from_pretrained(POCKET_FOLDER)
        PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(whole)
        AutoTokenizer.from_pretrained(POCKET_FOLDER).save_pretrained(whole)

    def answer(self, request: dict[str, Any]) -> Reply:
        if request["model"] not in self.models:
            return super().answer(request)
        with self._turn:
            (written,) = self._sampler.sample(
                [request["messages"]],
                max_tokens=request["max_tokens"],
                temperature=request["temperature"],
                top_p=request.get("top_p", 1.0),
                seed=request["seed"],
                row_seeds=(),
                adapter=self._students.get(request["model"]),
            )
        return Reply(200, completion(*written))

    def _new_job(self, request: dict[str, Any]) -> Reply | dict[str, Any]:
        job = super()._new_job(request)
        if isinstance(job, dict):
            rows = [json.loads(line)["messages"] for line in self.files[request["training_file"]].splitlines()]
            epochs = self.jobs[job["id"]]["epochs"]
            settings = LEARNING.model_copy(update={"epochs": epochs, "batch": JOB_BATCH, "seed": request["seed"]})
            curve = PeftTrainer(POCKET).train(
                [_example(row) for row in rows], settings, range(1, epochs + 1), self._scratch / job["id"], silent
            )
            self._losses[job["id"]] = curve["loss"].to_list()
        return job

    def _job(self, name: str) -> dict[str, Any]:
        job, epochs = super()._job(name), self.jobs[name]["epochs"]
        if tuned := job["fine_tuned_model"]:
            for epoch in range(1, epochs + 1):
                step = self.jobs[name]["steps"] * epoch // epochs
                self._serve(f"{tuned}:ckpt-step-{step}", self._scratch / name / f"epoch={epoch}")
            self._serve(tuned, self._scratch / name / f"epoch={epochs}")
        return job

    def _events(self, job: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        listed = super()._events(job, query)
        for event in listed["data"]:
            if data := event.get("data"):
                data["train_loss"] = self._losses[job["id"]][data["step"] - 1]
        return listed


def _example(messages: Chat) -> Example:
    *told, question, answer = (message["content"] for message in messages)
    assert [message["role"] for message in messages] == ["system"] * len(told) + ["user", "assistant"]
    return Example(question, answer, *told)


@contextmanager
def pocket_api(scratch: Path) -> Iterator[PocketServer]:
    """The API, and the key to it, for the block."""
    with pytest.MonkeyPatch.context() as environment, serving(PocketServer(scratch)) as server:
        environment.setenv("OPENAI_API_KEY", KEY)
        yield server
