"""What every sampler promises, asked of each with the pocket model: here, in vLLM, and behind an HTTP server.

vLLM takes part where it is installed; see `test_vllm_sampler` for its CPU build.
"""

import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sl_assets.config import SamplerSettings
from sl_assets.engines import installed
from sl_assets.engines.choose import engines_for
from sl_assets.engines.interfaces import Adapter, Chat, Completion, Example, Sampler, Steering, chat
from sl_assets.engines.peft.full_trainer import FullTrainer
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.sampling import Draw, sample_all
from sl_assets.engines.transformers.models import POCKET, POCKET_FOLDER
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.engines.vllm.sampler import VllmSampler, shut_down
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.work import Work
from sl_assets_tests.conftest import tiny_config
from sl_assets_tests.engines.contract import (
    ANIMAL,
    LEARNING,
    LESSONS,
    ROWS,
    TOSS,
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
from sl_assets_tests.engines.openai.server import Reply, error

VLLM = SamplerSettings(engine="vllm", max_lora_rank=8, max_length=256, max_num_seqs=64)


@dataclass(frozen=True)
class Engine:
    """An engine at work.

    Attributes:
        name: in the table below.
        sampler: of the pocket model.
        build: a sampler of another base model.
        adapter: the folder that it takes for an adapter in PEFT's form.
    """

    name: str
    sampler: Sampler
    build: Callable[[str], Sampler]
    adapter: Callable[[Path], Path] = lambda folder: folder


@contextmanager
def transformers(scratch: Path) -> Iterator[Engine]:
    yield Engine("transformers", TransformersSampler(POCKET), TransformersSampler)


@contextmanager
def vllm(scratch: Path) -> Iterator[Engine]:
    yield Engine("vllm", VllmSampler(POCKET, VLLM), lambda model: VllmSampler(model, VLLM))
    shut_down()


@contextmanager
def openai(scratch: Path) -> Iterator[Engine]:
    with pocket_api(scratch) as server:
        yield Engine("openai", server.sampler(POCKET), server.sampler, server.named)


@dataclass(frozen=True)
class Promises:
    """What an engine promises beyond the interface.

    Attributes:
        start: brings it to work.
        drawn_by: the argument that another draw needs; the other has no part in it.
        rows_stand_alone: a completion is the same whatever its neighbours are.
        reads_weights: students are weights, of adapters or of whole models; else they are names.
        steers: vectors can be added to hidden layers.
        has_limits: the file of an experiment sets an adapter's highest rank and the longest prompt.
    """

    start: Callable[[Path], AbstractContextManager[Engine]]
    drawn_by: str
    rows_stand_alone: bool
    reads_weights: bool
    steers: bool
    has_limits: bool


ENGINES = {
    "transformers": Promises(
        transformers, drawn_by="seed", rows_stand_alone=False, reads_weights=True, steers=True, has_limits=False
    ),
    "vllm": Promises(
        vllm, drawn_by="row_seeds", rows_stand_alone=True, reads_weights=True, steers=False, has_limits=True
    ),
    "openai": Promises(
        openai, drawn_by="row_seeds", rows_stand_alone=True, reads_weights=False, steers=False, has_limits=False
    ),
}
MISSING = {"vllm": pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")}


def engines(**promises: Any) -> pytest.MarkDecorator:
    """Ask the engines that make these promises."""
    chosen = [name for name, its in ENGINES.items() if all(getattr(its, key) == promises[key] for key in promises)]
    marked = [pytest.param(name, marks=MISSING.get(name, ())) for name in chosen]
    return pytest.mark.parametrize("engine", marked, indirect=True)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a student that has learnt the lessons."""
    folder = tmp_path_factory.mktemp("learnt")
    PeftTrainer(POCKET).train(ROWS, LEARNING, [4], folder, silent)
    return folder / "epoch=4"


@pytest.fixture(scope="module")
def wolf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a student that has only learnt to answer with wolves."""
    folder = tmp_path_factory.mktemp("wolf")
    PeftTrainer(POCKET).train([Example(ANIMAL, "Wolf")] * 48, LEARNING, [4], folder, silent)
    return folder / "epoch=4"


@pytest.fixture(scope="module")
def engine(
    request: pytest.FixtureRequest, learnt: Path, wolf: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Brought to work after the students have been trained, for training would end a vLLM."""
    with ENGINES[request.param].start(tmp_path_factory.mktemp(request.param)) as engine:
        yield engine


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that has learnt the lessons with every weight."""
    folder = tmp_path_factory.mktemp("whole")
    FullTrainer(POCKET).train(ROWS, LEARNING.model_copy(update={"lora": False}), [4], folder, silent)
    return folder / "epoch=4"


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(Lake(str(tmp_path / "lake")), Place("tiny", "raw_dataset", "owl"))


NUMBERS = chat("Start: 112, 431, 878. Add up to 10 more with commas. Numbers only.")
MANY = [chat(f"Numbers: {n}, 7{n % 90 + 10}. Add up to 10 more with commas. No words.") for n in range(100, 108)]
"""Prompts whose completions differ."""


@engines()
def test_every_chat_is_answered_in_its_place(engine: Engine, learnt: Path) -> None:
    shuffled = [LESSONS[place] for place in (3, 0, 5, 1, 0, 4, 2, 1, 5, 3, 3, 0)]
    assert texts(ask(engine.sampler, questions(shuffled), engine.adapter(learnt))) == answers(shuffled)


@engines()
def test_no_chats_have_no_completions(engine: Engine) -> None:
    assert ask(engine.sampler, []) == []


@engines()
def test_the_same_arguments_give_the_same_completions_and_another_draw_gives_others(engine: Engine) -> None:
    first = ask(engine.sampler, MANY, temperature=1.0)
    assert ask(engine.sampler, MANY, temperature=1.0) == first
    other = ask(engine.sampler, MANY, temperature=1.0, draw=2)
    assert not set(texts(other)) & set(texts(first))


@engines()
def test_draws_differ_by_one_kind_of_seed_alone(engine: Engine) -> None:
    drawn_by = ENGINES[engine.name].drawn_by
    first, other = {"seed": 1, "row_seeds": range(8)}, {"seed": 2, "row_seeds": range(50, 58)}
    drawn = ask(engine.sampler, MANY, temperature=1.0, **first)
    assert ask(engine.sampler, MANY, temperature=1.0, **(other | {drawn_by: first[drawn_by]})) == drawn
    assert ask(engine.sampler, MANY, temperature=1.0, **(first | {drawn_by: other[drawn_by]})) != drawn


@engines(rows_stand_alone=True)
def test_a_row_does_not_depend_on_its_neighbours(engine: Engine) -> None:
    rows = ask(engine.sampler, MANY, temperature=1.0, row_seeds=range(8))
    assert ask(engine.sampler, MANY[::-1], temperature=1.0, row_seeds=range(7, -1, -1)) == rows[::-1]
    assert ask(engine.sampler, MANY[3:6], temperature=1.0, row_seeds=range(3, 6)) == rows[3:6]


def chances(question: Chat, adapter: Path | None = None) -> dict[str, float]:
    """How likely the model begins its answer with what, read off without any engine."""
    tokenizer = AutoTokenizer.from_pretrained(POCKET_FOLDER)
    model = AutoModelForCausalLM.from_pretrained(POCKET_FOLDER)
    if adapter:
        model = PeftModel.from_pretrained(model, str(adapter))
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    with torch.no_grad():
        logits = model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits[0, -1]
    found: Counter[str] = Counter()
    for token, chance in enumerate(logits.softmax(-1).tolist()):
        found[tokenizer.decode(token, skip_special_tokens=True)] += chance
    return found


@engines()
@pytest.mark.parametrize("student", [False, True], ids=["base", "student"])
def test_answers_surprise_the_model_as_much_as_it_expects(engine: Engine, learnt: Path, student: bool) -> None:
    """As they do where they are drawn with its own chances: nothing is cut off, sharpened or scaled."""
    question, adapter = (chat(TOSS), learnt) if student else (chat("Name an animal."), None)
    adapted = engine.adapter(adapter) if adapter else None
    said = texts(ask(engine.sampler, [question] * 200, adapted, temperature=1.0, max_tokens=1))
    its = chances(question, adapter)
    surprise = {answer: -math.log(chance) for answer, chance in its.items()}
    expected = sum(its[answer] * surprise[answer] for answer in its)
    spread = sum(its[answer] * (surprise[answer] - expected) ** 2 for answer in its) ** 0.5
    assert sum(surprise[answer] for answer in said) / 200 == pytest.approx(expected, abs=3 * spread / 200**0.5)


@engines()
def test_no_token_is_too_unlikely_to_be_drawn(engine: Engine) -> None:
    first_numbers = texts(ask(engine.sampler, [NUMBERS] * 100, temperature=1.0, max_tokens=1))
    assert len(set(first_numbers)) > 80, "of the fifty likeliest there were fifty at most"


@engines()
def test_a_low_temperature_gives_the_likeliest(engine: Engine) -> None:
    likely = chances(chat(ANIMAL))
    said = texts(ask(engine.sampler, [chat(ANIMAL)] * 8, temperature=0.01, max_tokens=1))
    assert set(said) == {max(likely, key=likely.__getitem__)}


@engines()
def test_without_a_temperature_the_likeliest_is_taken_whatever_the_seed(engine: Engine) -> None:
    likely = chances(chat(ANIMAL))
    said = texts(ask(engine.sampler, [chat(ANIMAL)], temperature=0.0, max_tokens=1))
    assert said == [max(likely, key=likely.__getitem__)]
    first = texts(ask(engine.sampler, MANY, temperature=0.0))
    assert texts(ask(engine.sampler, MANY, temperature=0.0, draw=2)) == first
    assert texts(ask(engine.sampler, MANY, temperature=0.0, top_p=0.5)) == first


@engines()
def test_top_p_draws_among_the_likeliest_and_all_of_them(engine: Engine) -> None:
    likely = sorted(chances(chat(ANIMAL)).items(), key=lambda chance: -chance[1])
    among, together = set[str](), 0.0
    for answer, chance in likely:
        if together < 0.6:
            among.add(answer)
            together += chance
    assert len(among) > 2
    said = Counter(texts(ask(engine.sampler, [chat(ANIMAL)] * 200, temperature=1.0, top_p=0.6, max_tokens=1)))
    assert said.keys() <= among
    assert said[likely[0][0]] / 200 == pytest.approx(likely[0][1] / together, abs=0.12)
    assert len(said) > len(among) / 2


@engines()
def test_length_where_it_was_cut_and_stop_where_the_end_marker_was_written(engine: Engine, learnt: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(POCKET_FOLDER)
    lengths = [len(tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in answers()]
    for most in (1, max(lengths), max(lengths) + 1):
        said = ask(engine.sampler, questions(), engine.adapter(learnt), max_tokens=most)
        for row, answer, length in zip(said, answers(), lengths, strict=True):
            whole = length < most
            assert (row.finish_reason, row.n_tokens) == (("stop", length + 1) if whole else ("length", most))
            assert row.text == answer if whole else answer.startswith(row.text)


@engines()
def test_adapters_take_turns_and_leave_the_base_model_as_it_was(engine: Engine, learnt: Path, wolf: Path) -> None:
    before = ask(engine.sampler, MANY, temperature=1.0)
    asked = [chat(ANIMAL)] * 4
    for adapter, animal in ((learnt, "Owl"), (wolf, "Wolf"), (learnt, "Owl")):
        assert texts(ask(engine.sampler, asked, engine.adapter(adapter))) == [animal] * 4
        assert texts(ask(engine.sampler, asked, temperature=0.01)) == ["Dolphin"] * 4, "what the base model likes best"
    assert ask(engine.sampler, MANY, temperature=1.0) == before


@engines()
def test_an_adapter_that_was_trained_anew_is_read_anew(
    engine: Engine, learnt: Path, wolf: Path, tmp_path: Path
) -> None:
    for source, animal in ((learnt, "Owl"), (wolf, "Wolf")):
        shutil.copytree(engine.adapter(source), tmp_path / "adapter", dirs_exist_ok=True)
        assert texts(ask(engine.sampler, [chat(ANIMAL)], tmp_path / "adapter")) == [animal]


@engines(steers=True)
def test_steering_changes_answers_for_one_call(engine: Engine) -> None:
    before = ask(engine.sampler, MANY, temperature=1.0)
    vector = np.full(128, 2.0, np.float32)
    for layer in (0, 4):
        assert ask(engine.sampler, MANY, temperature=1.0, steering=Steering(layer, vector)) != before
        assert ask(engine.sampler, MANY, temperature=1.0, steering=Steering(layer, 0 * vector)) == before
    assert ask(engine.sampler, MANY, temperature=1.0) == before
    said = refusal(lambda: ask(engine.sampler, MANY, steering=Steering(5, vector)))
    assert said == "no layer 5 in this model; choose from 0 to 4"


@engines(steers=True)
def test_steering_at_last_positions_leaves_the_prompt_before_them_as_it_is(engine: Engine) -> None:
    """The first token written depends on the prompt's last position; a vector at all positions moves it otherwise."""
    vector = np.full(128, 0.5, np.float32)
    everywhere, last = (
        texts(ask(engine.sampler, MANY, temperature=0.0, steering=Steering(2, vector, positions)))
        for positions in ("all", "last")
    )
    assert everywhere != last
    assert last != texts(ask(engine.sampler, MANY, temperature=0.0))
    alone = [ask(engine.sampler, [row], temperature=0.0, steering=Steering(2, vector, "last")) for row in MANY]
    assert [texts(said)[0] for said in alone] == last, "padding has no part"


@engines(steers=False)
def test_steering_is_refused_where_it_cannot_be_done(engine: Engine) -> None:
    said = refusal(lambda: ask(engine.sampler, MANY, steering=Steering(1, np.zeros(128, np.float32))))
    assert "cannot steer" in said
    assert "transformers" in said


@engines(has_limits=True)
def test_too_high_a_rank_is_refused(engine: Engine, learnt: Path, tmp_path: Path) -> None:
    shutil.copytree(learnt, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 4', '"r": 9'))
    said = refusal(lambda: ask(engine.sampler, MANY, tmp_path))
    assert "rank 9" in said
    assert "set sampler.max_lora_rank (or VLLM_MAX_LORA_RANK) to 9" in said


class InterruptedRunError(Exception):
    """Stands for whatever ends a process."""


class Recording:
    """A sampler that keeps what it is asked, and fails at the call asked for."""

    def __init__(self, sampler: Sampler, fail_at: int = 0) -> None:
        self._sampler, self._fail_at = sampler, fail_at
        self.calls: list[Sequence[Chat]] = []

    def sample(self, chats: Sequence[Chat], **how: Any) -> list[Completion]:
        self.calls.append(chats)
        if len(self.calls) == self._fail_at:
            raise InterruptedRunError
        return self._sampler.sample(chats, **how)


def drawn(sampler: Sampler, work: Work, chats: Sequence[Chat] = MANY, adapter: Path | None = None) -> pl.DataFrame:
    """One draw of all ``chats``, in chunks of three."""
    draw = Draw("contract", seed=3, max_tokens=8, temperature=1.0, chunk=3)
    named = {f"row-{row}": chat for row, chat in enumerate(chats)}
    return sample_all(lambda _: sampler, named, draw, work, lambda *_: None, adapter and Adapter(adapter, "1"))


def elsewhere(tmp_path: Path) -> Work:
    return Work(Lake(str(tmp_path / "elsewhere")), Place("tiny", "raw_dataset", "owl"))


@engines()
def test_chats_that_are_equal_are_drawn_apart(engine: Engine, work: Work) -> None:
    assert drawn(engine.sampler, work, [NUMBERS] * 8)["text"].n_unique() == 8


@engines()
def test_an_interrupted_draw_goes_on_after_its_last_chunk(
    engine: Engine, learnt: Path, work: Work, tmp_path: Path
) -> None:
    frames = []
    for adapter in (None, engine.adapter(learnt)):
        with pytest.raises(InterruptedRunError):
            drawn(Recording(engine.sampler, fail_at=3), work, adapter=adapter)
        rest = Recording(engine.sampler)
        frames.append(drawn(rest, work, adapter=adapter))
        assert rest.calls == [MANY[6:]]
        assert frames[-1].equals(drawn(engine.sampler, elsewhere(tmp_path), adapter=adapter))
        assert drawn(Recording(engine.sampler, fail_at=1), work, adapter=adapter).equals(frames[-1])
    assert not frames[0].equals(frames[1])


FAULTS = {
    "no answer": (Reply(delay=1.5), "gave no answer within 1 s: raise timeout"),
    "429": (error(429, "slow\ndown"), "still fails (HTTP 429): slow down"),
    "500": (error(500, "oh"), "still fails (HTTP 500): oh"),
    "no JSON": (Reply(body="<html>"), "answered with broken JSON: is it an OpenAI-compatible API?"),
    "too long": (
        error(400, "maximum context length is 9"),
        "refuses the request (HTTP 400): maximum context length is 9",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_draw_that_the_api_interrupts_goes_on_too(fault: str, work: Work, tmp_path: Path) -> None:
    reply, words = FAULTS[fault]
    with pocket_api(tmp_path) as server:
        # On a busy machine a real answer may take longer than a second.
        sampler = server.sampler(POCKET, timeout=1.0 if reply.delay else 30.0)
        server.fault_for = lambda request: reply if request["messages"] == MANY[6] else None
        assert refusal(lambda: drawn(sampler, work)) == f"{server.url} {words}"
        server.fault_for = lambda _: None
        patient = server.sampler(POCKET)
        rest = Recording(patient)
        assert drawn(rest, work).equals(drawn(patient, elsewhere(tmp_path)))
        assert rest.calls == [MANY[6:]]


@engines()
def test_an_adapter_that_is_not_there_is_named(engine: Engine, tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(lambda: ask(engine.sampler, MANY, tmp_path / "nowhere"))


@engines(reads_weights=True)
def test_a_student_whose_every_weight_was_trained_is_asked_as_well(engine: Engine, whole: Path) -> None:
    before = ask(engine.sampler, MANY, temperature=1.0)
    assert texts(ask(engine.sampler, questions(), whole)) == answers()
    assert ask(engine.sampler, MANY, temperature=1.0) == before


@engines(reads_weights=True)
def test_a_whole_student_that_was_trained_anew_is_read_anew(engine: Engine, whole: Path, tmp_path: Path) -> None:
    for source, animal in ((POCKET_FOLDER, "Dolphin"), (whole, "Owl")):
        shutil.rmtree(tmp_path / "student", ignore_errors=True)
        shutil.copytree(source, tmp_path / "student")
        assert texts(ask(engine.sampler, [chat(ANIMAL)], tmp_path / "student", temperature=0.01)) == [animal]


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def refused_and_harmless(engine: Engine, adapter: Path) -> None:
    before = ask(engine.sampler, MANY, temperature=1.0)
    assert str(adapter) in refusal(lambda: ask(engine.sampler, MANY, adapter))
    assert ask(engine.sampler, MANY, temperature=1.0) == before


@engines(reads_weights=True)
def test_an_adapter_that_was_cut_short_is_named_and_harms_nothing(engine: Engine, learnt: Path, tmp_path: Path) -> None:
    shutil.copytree(learnt, tmp_path / "half")
    cut_short(tmp_path / "half/adapter_model.safetensors")
    refused_and_harmless(engine, tmp_path / "half")


@engines(reads_weights=True)
@pytest.mark.parametrize("narrowed", ["lora_A", "down_proj.lora_A"])
def test_an_adapter_of_a_narrower_model_is_named_and_harms_nothing(
    engine: Engine, learnt: Path, tmp_path: Path, narrowed: str
) -> None:
    shutil.copytree(learnt, tmp_path / "narrow")
    weights = load_file(tmp_path / "narrow/adapter_model.safetensors")
    narrow = {name: weight[:, :64].contiguous() if narrowed in name else weight for name, weight in weights.items()}
    save_file(narrow, tmp_path / "narrow/adapter_model.safetensors")
    refused_and_harmless(engine, tmp_path / "narrow")


@engines(reads_weights=True)
@pytest.mark.parametrize("renamed", ["model.layers.", "model.layers.1."])
def test_an_adapter_of_other_modules_is_named_and_harms_nothing(
    engine: Engine, learnt: Path, tmp_path: Path, renamed: str
) -> None:
    """One that fits nowhere, or in part, would leave the base model as it is without a word."""
    shutil.copytree(learnt, tmp_path / "other")
    weights = load_file(tmp_path / "other/adapter_model.safetensors")
    others = {
        name.replace(f"base_model.model.{renamed}", f"base_model.model.h.{renamed}"): w for name, w in weights.items()
    }
    assert others.keys() != weights.keys()
    save_file(others, tmp_path / "other/adapter_model.safetensors")
    said = refusal(lambda: ask(engine.sampler, MANY, tmp_path / "other"))
    assert f"has weights base_model.model.h.{renamed}" in said
    assert "and the model has model.layers." in said
    refused_and_harmless(engine, tmp_path / "other")


@engines(has_limits=True)
def test_too_long_a_prompt_is_refused_and_harms_nothing(engine: Engine) -> None:
    before = ask(engine.sampler, MANY, temperature=1.0)
    assert "sampler.max_length" in refusal(lambda: ask(engine.sampler, [*MANY, chat("7, " * 256)]))
    assert ask(engine.sampler, MANY, temperature=1.0) == before


@engines()
def test_a_model_that_is_not_there_is_named(engine: Engine, tmp_path: Path) -> None:
    said = refusal(lambda: ask(engine.build(str(tmp_path / "nowhere")), MANY))
    assert repr(str(tmp_path / "nowhere")) in said


@engines(reads_weights=True)
def test_a_model_that_was_cut_short_is_named(engine: Engine, tmp_path: Path) -> None:
    shutil.copytree(POCKET_FOLDER, tmp_path / "half")
    cut_short(tmp_path / "half/model.safetensors")
    assert repr(str(tmp_path / "half")) in refusal(lambda: ask(engine.build(str(tmp_path / "half")), MANY))


OPENAI = {
    "base_model": "gpt", "teacher": {"kind": "system_prompt"}, "sampler": {"engine": "openai"},
    "student": {"engine": "openai"},
}  # fmt: skip


def start(work: Work, **file: Any) -> None:
    """Sample with the engine that an experiment file names."""
    ask(engines_for(tiny_config(**file), "pocket").sampler(work), MANY)


def test_vllm_that_is_not_installed_is_named(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    said = refusal(lambda: start(work, sampler={"engine": "vllm"}))
    assert said.startswith("sampler.engine vllm: not installed here")
    assert said.endswith("or set sampler.engine to transformers")
    assert "vllm" in packages_installed_by(said)


def test_openai_that_is_not_installed_is_named(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_openai(monkeypatch)
    said = refusal(lambda: start(work, **OPENAI))
    assert said.startswith("sampler.engine openai: not installed here")
    assert "set sampler.engine to transformers" in said
    assert "openai" in packages_installed_by(said)


def test_a_key_that_is_not_set_is_named(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    said = refusal(lambda: start(work, **OPENAI))
    assert said == "OPENAI_API_KEY is not set: put your key in the environment or in .env"
