"""The whole graph on the real pocket model: runs, versions, lineage, staleness, failures."""

from typing import Any

import dagster as dg
import polars as pl
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from sl_assets.lake.lake import Lake, Place
from sl_assets.lake.views import query
from sl_assets.lake.work import Work
from sl_assets_tests.conftest import TINY, Bench

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


def test_the_same_inputs_give_the_same_versions(finished: Bench) -> None:
    before = versions(finished)
    assert finished.run(first="neutral", last="wolf").success
    assert versions(finished) == before
    assert stale(finished) == set()


def test_a_failing_partition_leaves_the_finished_ones_recorded(bench: Bench, tmp_path: Any) -> None:
    (tmp_path / "neutral.jsonl").write_text('{"prompt": "continue", "completion": "1, 2, 3"}\n')
    (tmp_path / "owl.jsonl").write_text('{"prompt": "continue", "completion": "4, 5"}\nnot json\n')
    source = {"source": {"kind": "jsonl", "path": str(tmp_path / "{condition}.jsonl")}}
    result = bench.run("raw_dataset", first="neutral", last="owl", numbers=source)
    assert not result.success
    assert "owl.jsonl:2: not JSON" in failure(result)
    assert bench.instance.get_materialized_partitions(dg.AssetKey(["tiny", "raw_dataset"])) == {"neutral"}
    assert not Lake(str(bench.root)).exists(Place("tiny", "raw_dataset", "owl"))


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


def test_what_an_interrupted_run_finished_is_not_made_again(finished: Bench, monkeypatch: Any) -> None:
    """A run killed between writing a partition and recording it leaves a note; the next run takes it over."""
    made = "SELECT count(*) FROM lineage WHERE asset = 'lora_checkpoint' AND partition = 'owl'"
    lake = Lake(str(finished.root))
    monkeypatch.setattr(Work, "clear", lambda self: None)
    assert finished.run("lora_checkpoint", first="owl").success
    monkeypatch.undo()
    assert query(lake, made).item() == 2
    assert finished.run("lora_checkpoint", first="owl").success
    assert query(lake, made).item() == 2, "taken over"
    assert finished.run("lora_checkpoint", first="owl").success
    assert query(lake, made).item() == 3, "asked for again, it is made again"


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


def test_what_a_failed_run_recorded_is_made_again_when_asked_for(bench: Bench, tmp_path: Any) -> None:
    (tmp_path / "neutral.jsonl").write_text('{"prompt": "continue", "completion": "1, 2, 3"}\n')
    numbers = {"source": {"kind": "jsonl", "path": str(tmp_path / "{condition}.jsonl")}}
    assert not bench.run("raw_dataset", first="neutral", last="owl", numbers=numbers).success, "owl has no file"
    (tmp_path / "neutral.jsonl").write_text('{"prompt": "continue", "completion": "7"}\n')
    assert stale(bench, "neutral", numbers=numbers) == {"raw_dataset"}, "the file has changed"
    assert bench.run("raw_dataset", first="neutral", numbers=numbers).success
    rows = Lake(str(bench.root)).read_table(Place("tiny", "raw_dataset", "neutral"))
    assert rows["completion"].to_list() == ["7"]


def test_a_student_of_other_settings_than_neutrals_is_not_compared_with_it(bench: Bench) -> None:
    graph = ("number_prompts", "baseline_evaluation", "baseline_preference_rates")
    student = ("lora_checkpoint", "evaluation")
    bench.run(*graph)
    bench.run("teacher_checkpoint", "raw_dataset", "filtered_dataset", *student, first="neutral", last="wolf")

    def compared(**changes: Any) -> tuple[set[str], str | None]:
        (event,) = bench.run("transfer", **changes).get_asset_materialization_events()
        left_out = event.materialization.metadata.get("left_out")
        students = Lake(str(bench.root)).read_table(Place("tiny", "transfer"))["condition"]
        return set(students), left_out and str(left_out.value)

    assert compared() == ({"owl", "wolf"}, None)
    changes = {"student": TINY["student"] | {"learning_rate": 5e-3}}
    bench.run(*student, first="neutral", last="owl", **changes)
    assert compared(**changes) == ({"owl"}, "wolf")
    bench.run(*student, first="wolf", **changes)
    assert compared(**changes) == ({"owl", "wolf"}, None)
