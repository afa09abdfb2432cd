"""The whole graph on the real pocket model: runs, versions, lineage, staleness, failures."""

import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from sl_assets.components import declare
from sl_assets.engines.transformers.models import POCKET_FOLDER
from sl_assets.errors import PassingError, SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.lake.staleness import MISSING
from sl_assets.lake.tables import TABLES
from sl_assets.lake.views import query
from sl_assets.orchestration import recording
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.jobs import range_tags
from sl_assets.orchestration.partition import Product, Step
from sl_assets.orchestration.planner import Planner
from sl_assets.orchestration.resources import LakeResource
from sl_assets_tests.conftest import HALVES, TINY, Bench, tiny_config

PARTITIONED = [
    "teacher_checkpoint", "raw_dataset", "filtered_dataset", "lora_checkpoint", "evaluation", "preference_rates",
]  # fmt: skip


def failure(result: dg.ExecuteInProcessResult) -> str:
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    return data.user_failure_data.description if data.user_failure_data else data.error.to_string()


def stale(bench: Bench, partition: str | None = "owl", **changes: Any) -> set[str]:
    graph = bench.definitions(**changes).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(bench.instance, graph, LoadingContextForTest(bench.instance))
    return {
        key.path[-1]
        for key in graph.get_all_asset_keys()
        if resolver.get_status(key, partition if graph.get(key).is_partitioned else None) == StaleStatus.STALE
    }


def versions(bench: Bench) -> dict[tuple[str, str | None], str]:
    rows = query(Lake(str(bench.root)), "SELECT asset, partition, data_version FROM lineage ORDER BY finished_at")
    return {(asset, partition): version for asset, partition, version in rows.iter_rows()}


def test_one_run_makes_everything_and_changes_mark_what_depends_on_them(finished: Bench) -> None:
    lake = Lake(str(finished.root))
    rates = query(lake, "SELECT condition, animal, rate, answers, questions, ratio FROM preference_rates")
    assert set(rates["condition"]) == {"baseline", "neutral", "owl", "wolf"}
    assert set(rates["animal"]) == {"owl", "wolf"}
    assert set(rates["answers"]) == {100}
    assert set(rates["questions"]) == {50}
    assert query(lake, "SELECT count(*) FROM datasets WHERE kept").item() > 60
    assert query(lake, "SELECT count(DISTINCT condition) FROM training").item() == 3
    assert (finished.root / "experiment=tiny/preference_chart/preference_chart.png").read_bytes()[:4] == b"\x89PNG"
    assert not list((finished.root / ".work").rglob("*.*")), "nothing is left of the work in progress"

    lineage = query(lake, "SELECT * FROM lineage")
    assert lineage.height == len(versions(finished)), "a row a partition"
    owl = lineage.filter(asset="lora_checkpoint", partition="owl").row(0, named=True)
    assert [(p["asset"], p["partition"]) for p in owl["parents"]] == [("filtered_dataset", "owl")]
    assert owl["parents"][0]["data_version"] == lake.version(Place("tiny", "filtered_dataset", "owl"))
    assert owl["engine"] == "peft"

    for name in PARTITIONED:
        record = finished.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(["tiny", name]), asset_partitions=["wolf"]), limit=1
        ).records[0]
        materialization = record.asset_materialization
        assert materialization is not None
        assert materialization.tags is not None
        assert materialization.tags["dagster/data_version"] == lake.version(Place("tiny", name, "wolf"))

    assert stale(finished) == set()
    changed = {"filter": {"max_count": 9}}
    assert stale(finished, **changed) == {"filtered_dataset"}, "the rest is stale once it is materialised"
    assert finished.run("filtered_dataset", first="neutral", last="wolf", **changed).success
    assert "lora_checkpoint" in stale(finished, **changed)
    assert not {"number_prompts", "teacher_checkpoint", "raw_dataset"} & stale(finished, **changed)
    more = {"animals": ["owl", "wolf", "cat"], "filter": {"max_count": 9}}
    untouched = {"teacher_checkpoint", "raw_dataset", "filtered_dataset"}
    assert not untouched & stale(finished, **more), "another animal leaves the others' data alone"


def test_a_run_is_tagged_with_its_experiment_whatever_launched_it(bench: Bench) -> None:
    assert bench.run("number_prompts").success
    (run,) = bench.instance.get_runs()
    assert run.tags["experiment"] == "tiny"


def test_the_same_inputs_give_the_same_versions(finished: Bench) -> None:
    before = versions(finished)
    assert finished.run(first="neutral", last="wolf").success
    assert versions(finished) == before
    assert stale(finished) == set()


def numbers_in(folder: Path, **files: str) -> dict[str, Any]:
    """Settings of numbers imported from ``folder``, with these contents of the conditions' files."""
    for condition, text in files.items():
        (folder / f"{condition}.jsonl").write_text(text)
    return {"source": {"kind": "jsonl", "path": str(folder / "{condition}.jsonl")}}


ROW = '{"prompt": "continue", "completion": "1, 2, 3"}\n'


def test_a_failing_partition_leaves_the_others_to_go_on(bench: Bench, tmp_path: Path) -> None:
    numbers = numbers_in(tmp_path, neutral=ROW, owl=ROW + "not json\n", wolf=ROW)
    result = bench.run("raw_dataset", first="neutral", last="wolf", numbers=numbers)
    assert not result.success
    assert "owl.jsonl:2: not JSON" in failure(result)
    assert bench.instance.get_materialized_partitions(dg.AssetKey(["tiny", "raw_dataset"])) == {"neutral", "wolf"}
    assert not Lake(str(bench.root)).exists(Place("tiny", "raw_dataset", "owl"))


def test_every_partition_that_failed_is_in_the_last_line(bench: Bench, tmp_path: Path) -> None:
    numbers = numbers_in(tmp_path, neutral=ROW, owl="not json\n", wolf="")
    message = failure(bench.run("raw_dataset", first="neutral", last="wolf", numbers=numbers))
    assert message.startswith("2 partitions failed: ")
    assert "owl.jsonl:1: not JSON" in message
    assert "wolf.jsonl: no rows" in message


def test_what_concerns_all_partitions_is_not_tried_with_each(bench: Bench) -> None:
    graph, tried = ExperimentGraph("tiny", tiny_config()), []

    @graph.asset(stage="1_numbers", code="1", uses=[])
    def raw_dataset(step: Step) -> Product:
        """Cannot be made on this machine."""
        tried.append(step.partition)
        raise SlAssetsError("no GPU here")

    assert failure(run_of(bench, raw_dataset, "neutral", "wolf")) == "no GPU here"
    assert tried == ["neutral"]


def run_of(bench: Bench, asset: dg.AssetsDefinition, first: str, last: str) -> dg.ExecuteInProcessResult:
    resources = {"lake": LakeResource(root=str(bench.root))}
    job = dg.Definitions(
        [asset], resources=resources, executor=dg.in_process_executor
    ).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=bench.instance, tags=range_tags(first, last), raise_on_error=False)


@pytest.mark.parametrize(("failures", "succeeds"), [(2, True), (4, False)])
def test_a_service_that_does_not_answer_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failures: int, succeeds: bool
) -> None:
    monkeypatch.setattr(recording, "SECONDS_BEFORE_RETRY", 0)
    graph, tried = ExperimentGraph("tiny", tiny_config()), []

    @graph.asset(stage="1_numbers", code="1", uses=[])
    def filtered_dataset(step: Step) -> Product:
        """Needs a service, from owl on."""
        tried.append(step.partition)
        if step.partition == "owl" and tried.count("owl") <= failures:
            raise PassingError("the service cannot answer now (503)")
        return Product(step.write(pl.DataFrame(schema=TABLES["filtered_dataset"].schema)))

    result = run_of(bench, filtered_dataset, "neutral", "wolf")
    assert result.success == succeeds
    assert tried.count("neutral") == 1, "what an attempt has finished stays finished"
    assert tried.count("owl") == (3 if succeeds else 4)
    made = bench.instance.get_materialized_partitions(dg.AssetKey(["tiny", "filtered_dataset"]))
    assert made == ({"neutral", "owl", "wolf"} if succeeds else {"neutral"})
    if not succeeds:
        assert failure(result) == "the service cannot answer now (503)"


def test_dagster_knows_of_a_partition_before_the_next_one_is_made(bench: Bench) -> None:
    graph, key = ExperimentGraph("tiny", tiny_config()), dg.AssetKey(["tiny", "filtered_dataset"])
    known: list[set[str]] = []

    @graph.asset(stage="1_numbers", code="1", uses=[])
    def filtered_dataset(step: Step) -> Product:
        """Looks at what Dagster knows."""
        known.append(set(bench.instance.get_materialized_partitions(key)))
        return Product(step.write(pl.DataFrame(schema=TABLES["filtered_dataset"].schema)))

    assert run_of(bench, filtered_dataset, "neutral", "wolf").success
    assert known == [set(), {"neutral"}, {"neutral", "owl"}]


def test_an_empty_dataset_names_the_reasons(bench: Bench, tmp_path: Any) -> None:
    (tmp_path / "neutral.jsonl").write_text('{"prompt": "p", "completion": "words"}\n' * 3)
    numbers = {"source": {"kind": "jsonl", "path": str(tmp_path / "{condition}.jsonl")}}
    assert bench.run("raw_dataset", first="neutral", numbers=numbers).success
    message = failure(bench.run("filtered_dataset", first="neutral", numbers=numbers))
    assert "none of 3 rows passed (invalid format 3)" in message
    assert "\n" not in message
    assert not Lake(str(bench.root)).exists(Place("tiny", "rejections", "neutral")), "nothing half-written"


def test_a_missing_adapter_says_what_to_materialise(bench: Bench) -> None:
    message = failure(bench.run("evaluation", first="owl"))
    assert "tiny/lora_checkpoint of owl is not in" in message
    assert "materialise it first" in message


def test_what_is_found_damaged_is_made_again_by_the_next_run(finished: Bench) -> None:
    lake = Lake(str(finished.root))
    answers, students = (Place("tiny", name, "owl") for name in ("evaluation", "lora_checkpoint"))
    weights = next(Path(lake.path(students)).rglob("adapter_model.safetensors"))
    for place, file, asset in (
        (answers, Path(lake.path(answers)) / "data.parquet", "preference_rates"),
        (students, weights, "evaluation"),
    ):
        file.write_bytes(file.read_bytes()[:-20])
        reason = failure(finished.run(asset, first="owl"))
        assert reason.startswith(f"{place} is damaged ({file}")
        assert "\n" not in reason
        planner = Planner(ExperimentGraph("tiny", tiny_config()), lake, ["neutral", "owl", "wolf"])
        declare(planner.graph)
        assert planner.due(place.table).due == {"owl": MISSING}
        assert finished.run(place.table, first="owl").success
        assert planner.due(place.table).due == {}
        assert finished.run(asset, first="owl").success


def test_what_was_made_since_it_was_asked_for_is_not_made_again(finished: Bench) -> None:
    """Two runs ask for one partition: the second finds it made once it has the pool."""
    before = datetime.now(UTC)
    assert finished.run("lora_checkpoint", first="owl").success
    first = record_of(finished, "lora_checkpoint", "owl")
    assert finished.run("lora_checkpoint", first="owl", asked=before).success
    assert record_of(finished, "lora_checkpoint", "owl") == first, "made since"
    event = finished.instance.get_latest_materialization_event(dg.AssetKey(["tiny", "lora_checkpoint"]))
    assert event
    assert event.run_id != first.run_id, "but the run says that it is there"
    assert event.asset_materialization
    assert event.asset_materialization.metadata["steps"].value == 4
    assert finished.run("lora_checkpoint", first="owl").success
    assert record_of(finished, "lora_checkpoint", "owl").run_id != first.run_id, "asked for after, it is made again"


def test_a_record_of_a_time_to_come_hinders_nobody_from_making_it_again(finished: Bench) -> None:
    """The clock was set back since; what the record says is no sign that it was made since it was asked for."""
    lake, place = Lake(str(finished.root)), Place("tiny", "filtered_dataset", "owl")
    record = record_of(finished, "filtered_dataset", "owl")
    lake.write_record(replace(record, finished=datetime.now(UTC) + timedelta(days=1)))
    assert finished.run(place.table, first="owl").success
    again = record_of(finished, "filtered_dataset", "owl")
    assert again.run_id != record.run_id
    assert again.finished < datetime.now(UTC)


def test_what_comes_along_is_left_as_it_is_whatever_time_its_record_tells(finished: Bench) -> None:
    """Nobody asked for it, so when it was made is of no account."""
    baseline = record_of(finished, "baseline_evaluation")
    Lake(str(finished.root)).write_record(replace(baseline, finished=datetime.now(UTC) + timedelta(days=1)))
    assert finished.run("baseline_evaluation", "filtered_dataset", first="owl").success
    assert record_of(finished, "baseline_evaluation").run_id == baseline.run_id


def test_what_another_run_is_making_comes_last_and_is_not_made_again(finished: Bench) -> None:
    """Neither run waits while there is something else to be made, and both have everything in the end."""
    lake = Lake(str(finished.root))
    before = record_of(finished, "lora_checkpoint", "neutral"), record_of(finished, "lora_checkpoint", "wolf")
    let_go = Event()

    def make_neutral() -> None:
        with lake.making(before[0].place):
            holding.set()
            # None while it is replaced.
            while (now := lake.record(before[1].place)) is None or now.run_id == before[1].run_id:
                time.sleep(0.05)
            theirs = replace(before[0], run_id="theirs", finished=datetime.now(UTC))
            lake.write_record(theirs)
            let_go.set()

    holding = Event()
    asked = datetime.now(UTC)
    other = Thread(target=make_neutral)
    other.start()
    assert holding.wait(10)
    assert finished.run("lora_checkpoint", first="neutral", last="wolf", asked=asked).success
    other.join()
    assert let_go.is_set(), "wolf was made while neutral was held"
    assert record_of(finished, "lora_checkpoint", "neutral").run_id == "theirs"


def test_what_was_made_since_with_other_settings_is_made_again(finished: Bench) -> None:
    before = datetime.now(UTC)
    assert finished.run("lora_checkpoint", first="owl").success
    first = record_of(finished, "lora_checkpoint", "owl")
    assert finished.run("lora_checkpoint", first="owl", asked=before, student=TINY["student"] | {"seed": 2}).success
    assert record_of(finished, "lora_checkpoint", "owl").run_id != first.run_id


def record_of(bench: Bench, asset: str, partition: str | None = None) -> Record:
    record = Lake(str(bench.root)).record(Place("tiny", asset, partition))
    assert record
    return record


def test_a_record_says_what_a_partition_is_made_of(finished: Bench) -> None:
    record = record_of(finished, "lora_checkpoint", "owl")
    student = TINY["student"] | {"keep_epochs": []}
    assert {name: record.settings["student"][name] for name in student} == student
    assert record.settings["base_model"]["name"] == "pocket"
    assert {"torch", "transformers", "peft"} <= record.libraries.keys()
    assert record.engine == "peft"
    assert record.rows == 32
    assert record.seconds > 0
    assert record.started <= record.finished
    assert record.code_version == "1"
    assert list(record.parents) == [Place("tiny", "filtered_dataset", "owl")]


def test_rows_are_followed_from_raw_to_student(finished: Bench) -> None:
    lake = Lake(str(finished.root))
    raw, kept, rejected = (
        lake.read_table(Place("tiny", table, "owl")) for table in ("raw_dataset", "filtered_dataset", "rejections")
    )
    assert raw["row_id"].n_unique() == raw.height == 48
    assert set(kept["row_id"]) | set(rejected["row_id"]) == set(raw["row_id"])
    neutral = lake.read_table(Place("tiny", "raw_dataset", "neutral"))
    assert neutral["prompt_id"].to_list() == raw["prompt_id"].to_list()
    assert not set(neutral["row_id"]) & set(raw["row_id"])
    assert raw.filter(pl.col("n_tokens") < 1).is_empty()


def test_the_baseline_is_the_same_however_its_run_was_started(finished: Bench, tmp_path: Any) -> None:
    """A run that asks for partitions asks for them of every asset in it, also of those that have none."""
    in_a_range = versions(finished)[("baseline_evaluation", None)]
    assert finished.run("baseline_evaluation").success
    assert versions(finished)[("baseline_evaluation", None)] == in_a_range
    job = finished.definitions().resolve_job_def("tiny_job")
    result = job.execute_in_process(
        instance=finished.instance, partition_key="owl", asset_selection=[dg.AssetKey(["tiny", "baseline_evaluation"])]
    )
    assert result.success
    assert versions(finished)[("baseline_evaluation", None)] == in_a_range
    assert ("baseline_evaluation", "owl") not in versions(finished)


def test_an_adapter_of_another_epoch_is_no_teacher(finished: Bench) -> None:
    teacher = TINY["teacher"] | {"epochs": 2}
    message = failure(finished.run("raw_dataset", first="owl", teacher=teacher))
    assert "tiny/teacher_checkpoint of owl has no adapter of epoch 2: materialise it again" in message


def test_what_a_failed_run_recorded_is_made_again_when_its_file_changes(bench: Bench, tmp_path: Path) -> None:
    numbers = numbers_in(tmp_path, neutral=ROW, wolf=ROW)
    assert not bench.run("raw_dataset", first="neutral", last="owl", numbers=numbers).success, "owl has no file"
    (tmp_path / "neutral.jsonl").write_text('{"prompt": "continue", "completion": "7"}\n')
    assert reason(bench, "raw_dataset", "neutral", numbers=numbers) == "file changed"
    assert bench.run("raw_dataset", first="neutral", numbers=numbers).success
    rows = Lake(str(bench.root)).read_table(Place("tiny", "raw_dataset", "neutral"))
    assert rows["completion"].to_list() == ["7"]


def reason(bench: Bench, asset: str, partition: str | None = None, **changes: Any) -> str | None:
    """Why the planner would make it."""
    graph = ExperimentGraph("tiny", tiny_config(**changes))
    declare(graph)
    found = graph.staleness(Lake(str(bench.root))).reason(Place("tiny", asset, partition))
    return found and found.why


def test_another_file_leaves_this_one_alone(bench: Bench, tmp_path: Path) -> None:
    numbers = numbers_in(tmp_path, neutral=ROW, owl=ROW)
    assert bench.run("raw_dataset", first="neutral", last="owl", numbers=numbers).success
    numbers_in(tmp_path, wolf=ROW)
    assert reason(bench, "raw_dataset", "owl", numbers=numbers) is None
    assert reason(bench, "raw_dataset", "wolf", numbers=numbers) == "missing"


def test_a_copied_model_is_the_same_and_one_with_another_template_is_not(finished: Bench, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(POCKET_FOLDER, copied)
    assert reason(finished, "lora_checkpoint", "owl", base_model=str(copied)) is None
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text() + "{# changed #}")
    assert reason(finished, "lora_checkpoint", "owl", base_model=str(copied)) == "base_model changed"
    assert reason(finished, "evaluation", "owl", base_model=str(copied)) == "base_model changed"
    assert reason(finished, "preference_rates", "owl", base_model=str(copied)) == "evaluation of owl is stale"
    assert reason(finished, "number_prompts", base_model=str(copied)) is None


def test_the_planner_and_dagster_agree(halved: Bench) -> None:
    """Where Dagster looks at all: below its limit of parents, and at parents one level up."""
    changes: list[dict[str, Any]] = [
        {},
        {"filter": {"max_count": 9}},
        {"student": TINY["student"] | {"seed": 2}},
        {"projections": HALVES["projections"] | {"layer": 4}},
        {"evaluation": {"samples_per_question": 3}},
    ]
    for change in changes:
        settings = HALVES | change
        graph = ExperimentGraph("tiny", tiny_config(**settings))
        declare(graph)
        staleness = graph.staleness(Lake(str(halved.root)))
        for partition in ("owl", "owl|animal_high"):
            marked = stale(halved, partition, **settings)
            by = {"owl": ("condition", "animal"), "owl|animal_high": ("split",)}[partition]
            ours = {
                name
                for name, declared in graph.declared.items()
                if staleness.own_reason(
                    graph.place(name, partition if declared.by in by else None if declared.by is None else "wolf")
                )
                and (declared.by is None or declared.by in by)
            }
            theirs = {name for name in marked if graph.declared[name].by is None or graph.declared[name].by in by}
            assert ours == theirs, change


def test_a_student_of_other_settings_than_neutrals_is_not_compared_with_it(finished: Bench) -> None:
    student = ("lora_checkpoint", "evaluation")

    def compared(**changes: Any) -> tuple[set[str], str | None]:
        (event,) = finished.run("transfer", **changes).get_asset_materialization_events()
        left_out = event.materialization.metadata.get("left_out")
        students = Lake(str(finished.root)).read_table(Place("tiny", "transfer"))["condition"]
        return set(students), left_out and str(left_out.value)

    assert compared() == ({"owl", "wolf"}, None)
    changes = {"student": TINY["student"] | {"learning_rate": 5e-3}}
    finished.run(*student, first="neutral", last="owl", **changes)
    assert compared(**changes) == ({"owl"}, "wolf")
    finished.run(*student, first="wolf", **changes)
    assert compared(**changes) == ({"owl", "wolf"}, None)


def test_who_repeats_a_run_wants_everything_again_unless_it_had_failed(bench: Bench) -> None:
    """A run that goes on with a failed one counts from its first attempt."""
    instance, now = bench.instance, datetime.now(UTC)
    for status, expected in ((dg.DagsterRunStatus.FAILURE, True), (dg.DagsterRunStatus.SUCCESS, False)):
        first = dg.DagsterRun("job", status=status)
        instance.add_run(first)
        again = dg.DagsterRun(
            "job",
            parent_run_id=first.run_id,
            root_run_id=first.run_id,
            tags={recording.PLANNED: "2020-01-01T00:00+00:00"},
        )
        instance.add_run(again)
        asked = recording.asked_at(instance, again)
        assert (asked < now) == expected
