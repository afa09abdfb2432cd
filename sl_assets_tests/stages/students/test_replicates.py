"""Students of several seeds in one partition: what is trained and asked, and what is taken over."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest

from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.lake.fingerprint import folder_digest
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets_tests.conftest import TINY, Bench

STUDENT, ANSWERS = Place("tiny", "lora_checkpoint", "owl"), Place("tiny", "evaluation", "owl")


class StoppedError(Exception):
    """Stands for whatever ends a run."""


class Diary:
    """What engines were asked for: seeds of trainings, and how often the sampler was."""

    def __init__(self) -> None:
        self.trained: list[int] = []
        self.chunks = 0
        self.stop_at: int | None = None


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Diary]:
    """Real engines, which are written down."""
    found, train, sample = Diary(), PeftTrainer.train, TransformersSampler.sample

    def noted_train(self: Any, examples: Any, settings: Any, *rest: Any) -> Any:
        if settings.seed == found.stop_at:
            raise StoppedError
        found.trained.append(settings.seed)
        return train(self, examples, settings, *rest)

    def noted_sample(self: Any, *given: Any, **named: Any) -> Any:
        found.chunks += 1
        return sample(self, *given, **named)

    monkeypatch.setattr(PeftTrainer, "train", noted_train)
    monkeypatch.setattr(TransformersSampler, "sample", noted_sample)
    yield found


def with_seeds(*seeds: int, **changes: Any) -> dict[str, Any]:
    return {"student": TINY["student"] | {"seeds": list(seeds)} | changes}


def made(bench: Bench, asset: str, settings: dict[str, Any]) -> Record:
    assert bench.run(asset, first="owl", **settings).success
    record = Lake(str(bench.root)).record(Place("tiny", asset, "owl"))
    assert record
    return record


def versions(seeds: Sequence[int], record: Record) -> list[str]:
    return [record.students[str(seed)] for seed in seeds]


def test_a_seed_more_is_the_only_one_that_is_trained_and_asked(finished: Bench, diary: Diary) -> None:
    lake = Lake(str(finished.root))
    lone, answers = lake.record(STUDENT), lake.read_table(ANSWERS)
    curve = lake.read_table(Place("tiny", "training", "owl"))
    assert lone
    assert lone.students == {"1": lone.data_version}

    three = made(finished, "lora_checkpoint", with_seeds(1, 2, 3))
    assert diary.trained == [2, 3]
    assert three.students["1"] == lone.data_version
    with lake.folder(STUDENT) as folder:
        assert sorted(path.name for path in folder.glob("seed=*/epoch=*")) == ["epoch=2"] * 3
        assert [folder_digest(folder / f"seed={seed}") for seed in (1, 2, 3)] == versions((1, 2, 3), three)
    curves = lake.read_table(Place("tiny", "training", "owl"))
    assert curves.filter(seed=1).equals(curve)
    assert curves["seed"].unique(maintain_order=True).to_list() == [1, 2, 3]

    asked = made(finished, "evaluation", with_seeds(1, 2, 3))
    assert asked.students == three.students
    assert diary.chunks == 2 * 7, "a hundred answers of each of two students, by 16"
    table = lake.read_table(ANSWERS)
    assert table.filter(seed=1).equals(answers)
    assert table.group_by("seed").len().sort("seed").rows() == [(1, 100), (2, 100), (3, 100)]

    # What was not taken over is what it is when it is made by itself.
    lake.forget_record(STUDENT)
    assert versions((2, 3), made(finished, "lora_checkpoint", with_seeds(2, 3))) == versions((2, 3), three)
    alone = made(finished, "lora_checkpoint", with_seeds(3))
    assert diary.trained == [2, 3, 2, 3], "the third is taken over from two"
    assert alone.data_version == three.students["3"]
    assert alone.settings["student"]["seed"] == 3
    assert "seeds" not in alone.settings["student"]


def test_what_was_made_otherwise_or_is_asked_for_again_is_not_taken_over(finished: Bench, diary: Diary) -> None:
    made(finished, "lora_checkpoint", with_seeds(1, 2, rank=4))
    assert diary.trained == [1, 2], "of another rank"
    made(finished, "lora_checkpoint", with_seeds(1, 2, rank=4))
    assert diary.trained == [1, 2] * 2, "asked for again"
    lake = Lake(str(finished.root))
    rows = Place("tiny", "filtered_dataset", "owl")
    record = lake.record(rows)
    assert record
    fewer = lake.read_table(rows).head(24)
    lake.write_table(rows, fewer)
    from dataclasses import replace

    from sl_assets.lake.fingerprint import frame_digest

    lake.write_record(replace(record, data_version=frame_digest(fewer)))
    made(finished, "lora_checkpoint", with_seeds(1, 2, 3, rank=4))
    assert diary.trained == [1, 2] * 2 + [1, 2, 3], "of other rows"


def test_what_is_damaged_is_trained_again(finished: Bench, diary: Diary) -> None:
    lake = Lake(str(finished.root))
    before = lake.record(STUDENT)
    assert before
    weights = finished.root / STUDENT.folder / before.data_version / "epoch=2" / "adapter_model.safetensors"
    weights.write_bytes(b"\0" * weights.stat().st_size)
    after = made(finished, "lora_checkpoint", with_seeds(1, 2))
    assert diary.trained == [1, 2]
    assert after.students["1"] == before.data_version


def test_a_run_that_ends_between_seeds_goes_on_after_the_last_that_is_finished(finished: Bench, diary: Diary) -> None:
    lake = Lake(str(finished.root))
    before = lake.record(STUDENT)
    diary.stop_at = 3
    assert not finished.run("lora_checkpoint", first="owl", **with_seeds(1, 2, 3, 4)).success
    assert diary.trained == [2]
    assert lake.record(STUDENT) == before, "what is there stays until all are trained"
    diary.stop_at = None
    # Whichever other seeds there are by then.
    three = made(finished, "lora_checkpoint", with_seeds(1, 2, 3))
    assert diary.trained == [2, 3]
    assert three.students.keys() == {"1", "2", "3"}
    assert not list((finished.root / ".work" / STUDENT.folder).rglob("*.safetensors"))
    with lake.folder(STUDENT) as folder:
        assert folder_digest(folder / "seed=2") == three.students["2"]


def test_answers_of_the_first_seed_are_drawn_as_those_of_a_lone_one(finished: Bench, diary: Diary) -> None:
    lake = Lake(str(finished.root))
    made(finished, "lora_checkpoint", with_seeds(1, 2))
    made(finished, "evaluation", with_seeds(1, 2))
    fellow = lake.read_table(ANSWERS).filter(seed=2)
    made(finished, "lora_checkpoint", with_seeds(2))
    made(finished, "evaluation", with_seeds(2))
    first = lake.read_table(ANSWERS)
    assert not first.equals(fellow), "drawn anew, for no two students share a draw"
    lake.forget_record(ANSWERS)
    made(finished, "evaluation", with_seeds(2))
    assert lake.read_table(ANSWERS).equals(first), "and the same however it came about"


def test_answers_older_than_their_column_are_taken_over(finished: Bench, diary: Diary) -> None:
    from dataclasses import replace

    lake = Lake(str(finished.root))
    record, answers = lake.record(ANSWERS), lake.read_table(ANSWERS)
    students = lake.record(STUDENT)
    assert record
    assert students
    version = lake.write_table(ANSWERS, answers.drop("seed"))
    lake.write_record(replace(record, data_version=version, students={}))
    lake.write_record(replace(students, students={}))
    made(finished, "lora_checkpoint", with_seeds(1, 2))
    made(finished, "evaluation", with_seeds(1, 2))
    assert diary.trained == [2]
    assert diary.chunks == 7
    assert lake.read_table(ANSWERS).filter(seed=1).equals(answers)
    assert isinstance(answers, pl.DataFrame)


def test_answers_of_a_student_that_is_not_there_are_refused(finished: Bench) -> None:
    result = finished.run("evaluation", first="owl", **with_seeds(1, 2))
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    said = str(failure.step_failure_data.user_failure_data.description)
    assert said == "tiny/lora_checkpoint of owl has no student of seed 2: materialise it again"
