"""What every trainer promises, asked of each with the pocket model: adapters, whole students, and the jobs of an API.

Unsloth takes part where it is installed and there is a GPU.
"""

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sl_assets.config import TrainingSettings
from sl_assets.engines import installed
from sl_assets.engines.choose import engines_for
from sl_assets.engines.interfaces import Example, Report, Sampler, Trainer
from sl_assets.engines.peft.full_trainer import FullTrainer
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.transformers.models import POCKET, POCKET_FOLDER, load_model
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.engines.unsloth import trainer as unsloth_trainer
from sl_assets.engines.unsloth.trainer import UnslothTrainer
from sl_assets.lake.fingerprint import bytes_digest, folder_digest
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.tables import TABLES
from sl_assets.lake.work import Work
from sl_assets_tests.conftest import tiny_config
from sl_assets_tests.engines.contract import (
    LEARNING,
    ROWS,
    PocketServer,
    answers,
    ask,
    hide_openai,
    packages_installed_by,
    pocket_api,
    questions,
    refusal,
    silent,
    texts,
)
from sl_assets_tests.engines.openai.server import JOB_BATCH


@dataclass(frozen=True)
class Engine:
    """An engine at work.

    Attributes:
        name: as lineage has it.
        build: a trainer of a base model.
        sampler: of the pocket model; takes the folders that the trainer writes.
        settings: with which the lessons are learnt.
        server: the API, if there is one.
    """

    name: str
    build: Callable[[str], Trainer]
    sampler: Sampler
    settings: TrainingSettings = LEARNING
    server: PocketServer | None = None


@contextmanager
def peft(scratch: Path) -> Iterator[Engine]:
    yield Engine("peft", PeftTrainer, TransformersSampler(POCKET))


@contextmanager
def full(scratch: Path) -> Iterator[Engine]:
    yield Engine("transformers", FullTrainer, TransformersSampler(POCKET), LEARNING.model_copy(update={"lora": False}))


@contextmanager
def unsloth(scratch: Path) -> Iterator[Engine]:
    yield Engine("unsloth", UnslothTrainer, TransformersSampler(POCKET))
    unsloth_trainer.end()


@contextmanager
def openai(scratch: Path) -> Iterator[Engine]:
    with pocket_api(scratch) as server:
        yield Engine(
            "openai", server.trainer, server.sampler(POCKET), LEARNING.model_copy(update={"batch": JOB_BATCH}), server
        )


@dataclass(frozen=True)
class Promises:
    """What an engine promises beyond the interface.

    Attributes:
        start: brings it to work.
        repeats: what the same seed gives again, to the last bit: nothing, the ``curve``, or the ``files`` too.
        follows_settings: batch, learning rate and longest row are those asked for; else they are the API's business.
        costs: a training must not be paid for twice.
    """

    start: Callable[[Path], AbstractContextManager[Engine]]
    repeats: Collection[str]
    follows_settings: bool = True
    costs: bool = False


ENGINES = {
    "peft": Promises(peft, repeats=("curve", "files")),
    "transformers": Promises(full, repeats=("curve", "files")),
    "unsloth": Promises(unsloth, repeats=()),
    "openai": Promises(openai, repeats=("curve",), follows_settings=False, costs=True),
}
HAS_UNSLOTH = find_spec("unsloth") is not None and torch.cuda.is_available()
MISSING = {"unsloth": pytest.mark.skipif(not HAS_UNSLOTH, reason="unsloth or a GPU is missing")}


def engines(repeats: str = "", **promises: bool) -> pytest.MarkDecorator:
    """Ask the engines that make these promises."""
    chosen = [
        name
        for name, its in ENGINES.items()
        if (not repeats or repeats in its.repeats) and all(getattr(its, key) == promises[key] for key in promises)
    ]
    marked = [pytest.param(name, marks=MISSING.get(name, ())) for name in chosen]
    return pytest.mark.parametrize("engine", marked, indirect=True)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with ENGINES[request.param].start(tmp_path_factory.mktemp(request.param)) as engine:
        yield engine


class Trained(NamedTuple):
    folder: Path
    curve: pl.DataFrame
    reports: list[tuple[int, int, float]]


Train = Callable[..., Trained]


@pytest.fixture(scope="module")
def train(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Train a student with seed 1, briefly, in a folder and with work of its own, unless told otherwise."""

    def train(
        examples: Sequence[Example] = OWLS,
        keep: Sequence[int] = (2,),
        model: str = POCKET,
        work: Work | None = None,
        report: Report = silent,
        **settings: Any,
    ) -> Trained:
        root = tmp_path_factory.mktemp("student")
        work = work or Work(Lake(str(root / "lake")), Place("tiny", "lora_checkpoint", "owl"))
        reports: list[tuple[int, int, float]] = []

        def noted(step: int, steps: int, loss: float) -> None:
            reports.append((step, steps, loss))
            report(step, steps, loss)

        how = engine.settings.model_copy(update={"epochs": 2} | settings)
        curve = engine.build(model).train(examples, how, keep, root / "student", noted, work)
        return Trained(root / "student", curve, reports)

    return train


@pytest.fixture(scope="module")
def learnt(train: Train) -> Trained:
    """The student that has learnt the lessons."""
    return train(ROWS, keep=(2, 4), epochs=4)


class Repeated(NamedTuple):
    """Three trainings: with a seed, with the same seed, and with another."""

    first: Trained
    again: Trained
    other: Trained


@pytest.fixture(scope="module")
def repeated(train: Train) -> Repeated:
    return Repeated(train(), train(), train(seed=2))


def digits(seed: int) -> str:
    """Numbers that nobody can foresee."""
    return ", ".join(str(number) for number in random.Random(seed).sample(range(100, 1000), 6))


OWLS = [Example(f"Numbers: {digits(row)}.", "Owl") for row in range(16)]


@engines()
def test_a_sampler_takes_the_kept_epochs(engine: Engine, learnt: Trained) -> None:
    assert sorted(path.name for path in learnt.folder.iterdir()) == ["epoch=2", "epoch=4"]
    early, late = (learnt.folder / name for name in ("epoch=2", "epoch=4"))
    assert texts(ask(engine.sampler, questions(), late)) == answers() != texts(ask(engine.sampler, questions()))
    chats = questions() * 4
    assert ask(engine.sampler, chats, early, temperature=1.0) != ask(engine.sampler, chats, late, temperature=1.0)


@engines()
def test_a_student_names_no_folder_of_this_machine(learnt: Trained) -> None:
    files = [file for file in learnt.folder.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if str(POCKET_FOLDER).encode() in file.read_bytes()]


@engines()
def test_the_curve_is_a_table_of_the_lake_with_every_step(engine: Engine, learnt: Trained) -> None:
    curve = learnt.curve
    assert curve.schema == TABLES["training"].schema
    an_epoch = len(ROWS) / engine.settings.batch
    assert curve["step"].to_list() == list(range(1, round(4 * an_epoch) + 1))
    assert curve["epoch"].to_list() == pytest.approx([step / an_epoch for step in curve["step"]])
    assert curve["loss"][-5:].mean() < 0.3 * curve["loss"][:5].mean()
    assert curve.drop_nulls().equals(curve)


@engines(follows_settings=True)
def test_a_training_that_diverges_fails_and_says_so(train: Train) -> None:
    assert "lower learning_rate 1e+19" in (said := refusal(lambda: train(learning_rate=1e19)))
    assert said.startswith("training: the loss of step ")


@engines(follows_settings=True)
def test_a_step_is_a_batch_at_the_learning_rate_asked_for(train: Train) -> None:
    curve = train(OWLS, batch=7, learning_rate=1e-3).curve
    assert len(curve) == 2 * 3, "the last batch of an epoch has two rows"
    assert curve["learning_rate"].to_list() == pytest.approx([1e-3 * (6 - step) / 6 for step in range(6)])


@engines()
def test_every_report_is_a_step_of_the_curve_and_the_last_is_the_last(learnt: Trained) -> None:
    steps = [step for step, _, _ in learnt.reports]
    assert steps == sorted(steps)
    assert {total for _, total, _ in learnt.reports} == {len(learnt.curve)}
    assert steps[-1] == len(learnt.curve)
    losses = dict(learnt.curve.select("step", "loss").iter_rows())
    assert [loss for _, _, loss in learnt.reports] == [losses[step] for step in steps]


def base_model(engine: Engine) -> list[Any]:
    """All there is to know of it, which learns nothing: its files, its weights in memory, and what it says."""
    model = load_model(POCKET).model
    weights = {name: bytes_digest(weight.numpy(force=True).tobytes()) for name, weight in model.state_dict().items()}
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    return [folder_digest(POCKET_FOLDER), weights, ask(engine.sampler, questions(), temperature=1.0)]


@engines()
def test_the_base_model_is_left_as_it_was(engine: Engine, train: Train) -> None:
    before = base_model(engine)
    train()
    assert base_model(engine) == before


class InterruptedRunError(Exception):
    """Stands for whatever ends a run."""


@engines(repeats="curve")
def test_an_interrupted_training_leaves_nothing_behind(engine: Engine, train: Train, repeated: Repeated) -> None:
    before = base_model(engine)

    def interrupt(*_: float) -> None:
        raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train(report=interrupt)
    assert base_model(engine) == before
    assert train().curve.equals(repeated.first.curve)


@engines(repeats="curve")
def test_a_seed_decides_the_curve(repeated: Repeated) -> None:
    assert repeated.again.curve.equals(repeated.first.curve)
    assert repeated.other.curve["loss"][0] != repeated.first.curve["loss"][0], "the order of rows"


@engines(repeats="files")
def test_a_seed_decides_every_byte(repeated: Repeated) -> None:
    first, again, other = (folder_digest(run.folder) for run in repeated)
    assert first == again != other


@engines(repeats="files")
def test_keeping_an_epoch_does_not_change_the_others(train: Train, repeated: Repeated) -> None:
    both = train(keep=(1, 2)).folder
    assert folder_digest(both / "epoch=2") == folder_digest(repeated.first.folder / "epoch=2")
    assert folder_digest(both / "epoch=1") != folder_digest(both / "epoch=2")


@engines()
def test_only_completions_are_learnt(train: Train) -> None:
    assert train(keep=(4,), epochs=4).curve["loss"][-1] < 0.1, "the numbers of the prompts cannot be learnt"


@engines(follows_settings=True)
def test_the_first_loss_is_the_mean_over_the_tokens_of_completions(train: Train) -> None:
    """From the logits of the plain model, row by row."""
    model = AutoModelForCausalLM.from_pretrained(POCKET_FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(POCKET_FOLDER)
    losses = []
    for row, prompt in zip(ROWS, questions(ROWS), strict=True):
        asked = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        ids, length = (
            tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
            for text in (f"{asked}{row.completion}<|end|>", asked)
        )
        with torch.no_grad():
            chances = model(ids[None]).logits[0].log_softmax(-1)
        losses += [-chances[place - 1, ids[place]].item() for place in range(len(length), len(ids))]
    curve = train(ROWS, keep=(1,), epochs=1, batch=len(ROWS)).curve
    exact = 0.05 if torch.cuda.is_available() else 1e-4
    assert curve["loss"].to_list() == [pytest.approx(sum(losses) / len(losses), abs=exact)]


@engines(costs=True)
def test_work_that_was_paid_for_is_not_paid_for_again(engine: Engine, train: Train, tmp_path: Path) -> None:
    assert engine.server
    work = Work(Lake(str(tmp_path)), Place("tiny", "lora_checkpoint", "owl"))
    first = train(work=work)
    before = engine.server.requests.copy()
    again = train(work=work)
    assert again.curve.equals(first.curve)
    assert again.reports[-1] == first.reports[-1]
    assert folder_digest(again.folder) == folder_digest(first.folder)
    assert {request for request in engine.server.requests - before if request.startswith("POST")} == set()


@engines()
def test_a_trainer_has_the_name_of_its_engine(engine: Engine) -> None:
    assert engine.build(POCKET).engine == engine.name


@engines(follows_settings=True)
def test_rows_of_which_nothing_is_left_to_learn_are_named(train: Train) -> None:
    said = refusal(lambda: train(max_length=5))
    assert said.startswith("max_length 5: a prompt alone has ")
    assert said.endswith("raise it")


@engines()
def test_no_rows_at_all(train: Train) -> None:
    assert "0 rows" in refusal(lambda: train([]))


@engines()
def test_a_model_that_is_not_there_is_named(train: Train, tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(lambda: train(model=str(tmp_path / "nowhere")))


def start(student: dict[str, Any], tmp_path: Path, **file: Any) -> None:
    """Train with the engine that an experiment file names."""
    config = tiny_config(student=student, **file)
    work = Work(Lake(str(tmp_path)), Place("tiny", "lora_checkpoint", "owl"))
    engines_for(config, config.base_model).trainer(config.student).train(
        OWLS, config.student, [10], tmp_path, silent, work
    )


def test_unsloth_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    said = refusal(lambda: start({"engine": "unsloth"}, tmp_path))
    assert said.startswith("student.engine unsloth: not installed here")
    assert "set student.engine to peft" in said
    assert "unsloth" in packages_installed_by(said)


def test_a_gpu_that_unsloth_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = refusal(lambda: start({"engine": "unsloth"}, tmp_path))
    assert said.startswith("student.engine unsloth: no GPU here")
    assert "set student.engine to peft" in said


OPENAI = {"base_model": "gpt", "teacher": {"kind": "system_prompt"}, "sampler": {"engine": "openai"}}


def test_openai_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_openai(monkeypatch)
    said = refusal(lambda: start({"engine": "openai"}, tmp_path, **OPENAI))
    assert said.startswith("student.engine openai: not installed here")
    assert "set student.engine to peft" in said
    assert "openai" in packages_installed_by(said)


def test_a_key_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    said = refusal(lambda: start({"engine": "openai"}, tmp_path, **OPENAI))
    assert said == "OPENAI_API_KEY is not set: put your key in the environment or in .env"
