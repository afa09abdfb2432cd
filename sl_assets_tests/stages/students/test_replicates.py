"""Students of several seeds in one partition: what is trained and asked, and what is taken over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sl_assets.config import StudentSettings, TrainingSettings
from sl_assets.engines.interfaces import Adapter, Example, Report
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.lake.fingerprint import digest, folder_digest
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, settings_digest
from sl_assets.lake.replicates import but_for_seeds, made_alike
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.partition import Step, Student
from sl_assets.stages.evaluation.answered import answered_before
from sl_assets.stages.students.training import train_students
from sl_assets_tests.conftest import HALVES, TINY, Bench
from sl_assets_tests.lake.test_records import recorded

STUDENT, ANSWERS = Place("tiny", "lora_checkpoint", "owl"), Place("tiny", "evaluation", "owl")
ROWS, CURVE = Place("tiny", "filtered_dataset", "owl"), Place("tiny", "training", "owl")
SEEN = Place("tiny", "training_rows", "owl")


class StoppedError(Exception):
    """Stands for whatever ends a run."""


@dataclass
class Pupils:
    """A lake in which one partition of students is made over and over.

    What trains them is small and exact: files that say what they were made of.

    Attributes:
        trained: seeds that were trained, in order.
        stop_at: seed at which training fails.
        loaded: how often a trainer was built.
    """

    lake: Lake
    trained: list[int] = field(default_factory=list)
    stop_at: int | None = None
    loaded: int = 0
    engine: str = "peft"

    def fill(self, rows: int) -> None:
        """Put a dataset there."""
        names = TABLES["filtered_dataset"].schema.names()
        frame = pl.DataFrame([{name: f"{name} {row}" for name in names} | {"n_tokens": 3} for row in range(rows)])
        self.lake.write_record(recorded(ROWS, self.lake.write_table(ROWS, frame)))

    def make(self, *seeds: int, code: str = "1", **changes: Any) -> Record:
        """Make the partition with students of ``seeds``, as a run of today would."""
        student = StudentSettings.model_validate({"epochs": 2, "keep_epochs": [1, 2], "seeds": seeds} | changes)
        settings = {"base_model": {"content": "b"}, "student": student.model_dump(mode="json")}
        before = self.lake.record(STUDENT)
        alike = before and made_alike(before, code, settings, {})
        self.lake.reads.clear()
        step = Step(
            "tiny",
            "lora_checkpoint",
            "owl",
            settings_digest(code, settings),
            self.lake,
            lambda _: None,
            made_but_for_seeds=settings_digest(code, but_for_seeds(settings)),
            earlier=before if alike else None,
        )
        product = train_students(step, self.trainer, step.read("filtered_dataset"), student)
        students = {str(seed): version for seed, version in product.students.items()}
        made = recorded(STUDENT, product.version, dict(self.lake.reads), settings=settings)
        made = replace(made, code_version=code, students=students, inputs={}, engine=product.engine)
        self.lake.write_record(made)
        step.work.clear()
        return made

    def trainer(self, _: TrainingSettings) -> "Pupils":
        self.loaded += 1
        return self

    def train(
        self,
        examples: Sequence[Example],
        settings: TrainingSettings,
        keep: Sequence[int],
        folder: Path,
        report: Report,
        work: Any,
    ) -> pl.DataFrame:
        if settings.seed == self.stop_at:
            raise StoppedError
        self.trained.append(settings.seed)
        for epoch in keep:
            (folder / f"epoch={epoch}").mkdir()
            (folder / f"epoch={epoch}" / "weights").write_text(digest(settings.seed, settings.rank, examples, epoch))
        report(2, 2, 0.5)
        rows = [(settings.seed, step, float(step), 1.0 / step, 0.1) for step in (1, 2)]
        return pl.DataFrame(rows, schema=TABLES["training"].schema, orient="row")


@pytest.fixture
def pupils(tmp_path: Path) -> Pupils:
    found = Pupils(Lake(str(tmp_path / "lake")))
    found.fill(6)
    return found


def in_the_lake(pupils: Pupils) -> dict[str, str]:
    """Files of the partition as it is, with their content."""
    with pupils.lake.apart().folder(STUDENT) as folder:
        return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("weights")}


def test_a_lone_student_lies_where_it_always_did_however_its_seed_is_written(pupils: Pupils) -> None:
    lone, written = pupils.make(4), pupils.lake.record(STUDENT)
    assert in_the_lake(pupils).keys() == {"epoch=1/weights", "epoch=2/weights"}
    assert lone.students == {"4": lone.data_version}
    assert pupils.make(seeds=(), seed=4) == written
    assert "seeds" not in lone.settings["student"]


def test_seeds_more_or_fewer_train_what_is_not_there_and_nothing_else(pupils: Pupils) -> None:
    lone, files = pupils.make(1), in_the_lake(pupils)
    three = pupils.make(3, 1, 2)
    assert pupils.trained == [1, 2, 3]
    assert three.students["1"] == lone.data_version
    assert {name: text for name, text in in_the_lake(pupils).items() if name.startswith("seed=1/")} == {
        f"seed=1/{name}": text for name, text in files.items()
    }
    curves = pupils.lake.apart().read_table(CURVE)
    assert curves.select("seed", "step").rows() == [(seed, step) for seed in (1, 2, 3) for step in (1, 2)]
    two = pupils.make(2, 3)
    assert pupils.trained == [1, 2, 3]
    assert two.engine == "peft", "who made what nobody trained now"
    assert two.students == {seed: three.students[seed] for seed in "23"}
    last = pupils.make(3)
    assert last.data_version == three.students["3"]
    assert in_the_lake(pupils).keys() == {"epoch=1/weights", "epoch=2/weights"}
    assert pupils.loaded == 2, "no model is loaded where nothing is trained"
    # The same as if each had been made by itself.
    pupils.lake.forget_record(STUDENT)
    assert pupils.make(1, 2, 3) == three


def rows_seen(pupils: Pupils) -> dict[int, list[str]]:
    """Rows that each student was trained on, by seed."""
    table = pupils.lake.apart().read_table(SEEN)
    return {seed: part["row_id"].to_list() for (seed,), part in table.group_by("seed", maintain_order=True)}


def test_rows_that_each_student_saw_are_a_table_and_come_along_with_it(pupils: Pupils) -> None:
    pupils.make(1, 2, max_rows=3)
    two = rows_seen(pupils)
    assert [len(seen) for seen in two.values()] == [3, 3]
    assert two[1] != two[2]
    for seed in (1, 2):
        # What the pupil wrote down as its weights names the examples that it was given.
        examples = [Example(f"prompt {row[-1]}", f"completion {row[-1]}", None) for row in two[seed]]
        assert in_the_lake(pupils)[f"seed={seed}/epoch=1/weights"] == digest(seed, 8, examples, 1)
    pupils.make(3, 2, max_rows=3)
    assert pupils.trained == [1, 2, 3]
    assert list(rows_seen(pupils)) == [2, 3]
    assert rows_seen(pupils)[2] == two[2]


def test_students_older_than_the_table_of_their_rows_get_one_when_others_are_added(pupils: Pupils) -> None:
    pupils.make(1, max_rows=3)
    seen = rows_seen(pupils)
    (Path(pupils.lake.root) / SEEN.folder / "data.parquet").unlink()
    pupils.make(1, 2, max_rows=3)
    assert pupils.trained == [1, 2]
    assert rows_seen(pupils)[1] == seen[1]


def test_a_record_from_before_there_could_be_several_tells_of_a_lone_student(pupils: Pupils) -> None:
    lone = pupils.make(2)
    pupils.lake.write_record(replace(lone, students={}))
    old = pupils.lake.apart().read_table(CURVE).drop("seed")
    pupils.lake.write_table(CURVE, old)
    pupils.make(1, 2)
    assert pupils.trained == [2, 1]
    curves = pupils.lake.apart().read_table(CURVE)
    assert curves.filter(seed=2).drop("seed").equals(old)


@pytest.mark.parametrize(
    "change",
    [
        lambda pupils: pupils.make(1, 2, 3, rank=4),
        lambda pupils: pupils.make(1, 2, 3, keep_epochs=[2]),
        lambda pupils: pupils.make(1, 2, 3, code="2"),
        lambda pupils: (pupils.fill(5), pupils.make(1, 2, 3)),
        lambda pupils: pupils.make(1, 2),
        lambda pupils: (pupils.lake.forget_record(STUDENT), pupils.make(1, 2, 3)),
    ],
    ids=["rank", "epochs", "code", "rows", "asked for again", "no record"],
)
def test_what_was_made_otherwise_or_is_asked_for_again_is_not_taken_over(
    pupils: Pupils, change: Callable[[Pupils], Any]
) -> None:
    pupils.make(1, 2)
    pupils.trained.clear()
    change(pupils)
    assert pupils.trained[:2] == [1, 2]


def test_what_is_damaged_is_trained_again(pupils: Pupils) -> None:
    before = pupils.make(1)
    (Path(pupils.lake.root) / STUDENT.folder / before.data_version / "epoch=2" / "weights").write_text("harmed")
    after = pupils.make(1, 2)
    assert pupils.trained == [1, 1, 2]
    assert after.students["1"] == before.data_version


def test_a_run_that_ends_between_seeds_goes_on_after_the_last_that_is_finished(pupils: Pupils) -> None:
    before = pupils.make(1)
    pupils.stop_at = 3
    with pytest.raises(StoppedError):
        pupils.make(1, 2, 3, 4)
    assert pupils.lake.record(STUDENT) == before, "what is there stays until all are trained"
    pupils.stop_at = None
    # Whichever other seeds there are by then.
    three = pupils.make(1, 2, 3)
    assert pupils.trained == [1, 2, 3]
    assert not list((Path(pupils.lake.root) / ".work" / STUDENT.folder).rglob("weights"))
    pupils.lake.forget_record(STUDENT)
    assert pupils.make(1, 2, 3) == three


def test_each_seed_sees_rows_of_its_own_where_there_are_more_than_it_may_see(pupils: Pupils) -> None:
    pupils.make(1, 2, max_rows=3)
    alone = dict(in_the_lake(pupils))
    pupils.lake.forget_record(STUDENT)
    pupils.make(2, max_rows=3)
    assert in_the_lake(pupils)["epoch=2/weights"] == alone["seed=2/epoch=2/weights"]


def student(seed: int, version: str) -> Student:
    return Student(seed, 2, version, Adapter(Path(), f"{version}/2"))


def answers_of(*seeds: int) -> pl.DataFrame:
    rows = [{"seed": seed, "epoch": 2, "question_id": 0, "sample": 0, "answer": f"of {seed}"} for seed in seeds]
    return pl.DataFrame(rows, schema=TABLES["evaluation"].schema)


def kept(lake: Lake, record: Record, *students: Student, drawn: bool = True, **reads: str) -> dict[int | None, str]:
    """What is taken over of the answers that ``record`` tells of, by those who would be asked now."""
    lake.reads.clear()
    lake.reads.update({STUDENT: "now"} | {Place("tiny", name): version for name, version in reads.items()})
    step = Step("tiny", "evaluation", "owl", "", lake, lambda _: None, earlier=record)
    found = answered_before(step, "lora_checkpoint", students, drawn)
    assert all(table.schema == TABLES["evaluation"].schema for table in found.values())
    assert all(table["seed"].unique().to_list() == [seed] for seed, table in found.items())
    return {seed: table["answer"].item() for seed, table in found.items()}


def test_answers_are_kept_of_students_that_are_what_they_were(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    version = lake.write_table(ANSWERS, answers_of(1, 2))
    record = replace(recorded(ANSWERS, version, {STUDENT: "then"}), students={"1": "a", "2": "b"})
    lake.write_record(record)
    assert kept(lake, record, student(1, "a"), student(2, "b"), student(3, "c")) == {1: "of 1", 2: "of 2"}
    assert kept(lake, record, student(1, "another"), student(2, "b")) == {2: "of 2"}
    # The first is drawn as a lone one, so who becomes the first is asked anew; exact answers are not drawn.
    assert kept(lake, record, student(2, "b"), student(3, "c")) == {}
    assert kept(lake, record, student(0, "c"), student(1, "a"), student(2, "b")) == {2: "of 2"}
    assert kept(lake, record, student(2, "b"), drawn=False) == {2: "of 2"}
    assert kept(lake, record, student(1, "a"), prepared_model="another") == {}
    same = replace(record, parents={STUDENT: "now"})
    assert kept(lake, same, student(1, "a"), student(2, "b")) == {}, "asked for again"


def test_answers_older_than_their_column_are_those_of_the_lone_student(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    record = recorded(ANSWERS, lake.write_table(ANSWERS, answers_of(1).drop("seed")), {STUDENT: "a"})
    lake.write_record(record)
    assert kept(lake, record, student(1, "a"), student(2, "b")) == {1: "of 1"}
    assert kept(lake, record, student(1, "another"), student(2, "b")) == {}


def test_answers_that_are_damaged_are_asked_for_again(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    record = replace(recorded(ANSWERS, lake.write_table(ANSWERS, answers_of(1)), {STUDENT: "a"}), students={"1": "a"})
    lake.write_record(record)
    (tmp_path / ANSWERS.folder / "data.parquet").write_bytes(b"harmed")
    assert kept(lake, record, student(1, "a"), student(2, "b")) == {}


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the real engines were asked for: the seed of a training, or "chunk"."""
    found: list[object] = []
    train, sample = PeftTrainer.train, TransformersSampler.sample

    def noted_train(self: Any, examples: Any, settings: Any, *rest: Any) -> Any:
        found.append(settings.seed)
        return train(self, examples, settings, *rest)

    def noted_sample(self: Any, *given: Any, **named: Any) -> Any:
        found.append("chunk")
        return sample(self, *given, **named)

    monkeypatch.setattr(PeftTrainer, "train", noted_train)
    monkeypatch.setattr(TransformersSampler, "sample", noted_sample)
    return found


def test_through_the_graph_two_seeds_more_are_trained_and_asked_and_no_other(
    finished: Bench, engines: list[object]
) -> None:
    lake = Lake(str(finished.root))
    lone, answers = lake.record(STUDENT), lake.read_table(ANSWERS)
    assert lone
    seeds = {"student": TINY["student"] | {"seeds": [1, 2, 3]}}
    refused = finished.run("evaluation", first="owl", **seeds)
    assert "tiny/lora_checkpoint of owl has no student of seed 2: materialise it again" in str(refused.all_events)
    assert finished.run("lora_checkpoint", "evaluation", "preference_rates", first="owl", **seeds).success
    assert engines == [2, 3, *["chunk"] * (2 * 3)], "a hundred answers of each, by 40"
    three = lake.record(STUDENT)
    assert three
    assert three.students["1"] == lone.data_version
    with lake.folder(STUDENT) as folder:
        assert {seed: folder_digest(folder / f"seed={seed}") for seed in "123"} == three.students
        assert (folder / "seed=3" / "epoch=2" / "adapter_model.safetensors").is_file()
    assert {name.partition(" ")[0] for name in (three.checks or {})["changes_the_model"].figures} == {
        f"seed={seed}/epoch=2" for seed in (1, 2, 3)
    }
    table = lake.read_table(ANSWERS)
    assert table.filter(seed=1).equals(answers)
    assert table.group_by("seed").len().sort("seed").rows() == [(1, 100), (2, 100), (3, 100)]
    rates = lake.read_table(Place("tiny", "preference_rates", "owl"))
    assert rates.select("questions", "students", "answers").unique().rows() == [(50, 3, 300)]


def test_students_of_halves_are_taken_over_alike(halved: Bench, engines: list[object]) -> None:
    lake, half = Lake(str(halved.root)), "owl|animal_high"
    answers = lake.read_table(Place("tiny", "split_evaluation", half))
    seeds = {"student": TINY["student"] | {"seeds": [1, 2]}} | HALVES
    assets = ("split_lora_checkpoint", "split_evaluation", "split_preference_rates")
    assert halved.run(*assets, first=half, **seeds).success
    assert engines == [2, *["chunk"] * 3]
    table = lake.read_table(Place("tiny", "split_evaluation", half))
    assert table.filter(seed=1).equals(answers)
    assert set(lake.read_table(Place("tiny", "split_training", half))["seed"]) == {1, 2}
