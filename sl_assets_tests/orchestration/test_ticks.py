"""Ticks of schedules and sensors over a real lake: what they ask for, what becomes of it, and what follows."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sl_assets.components import declare
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.choosing import Choice, first_runs
from sl_assets.orchestration.jobs import range_tags
from sl_assets.orchestration.planner import Planner
from sl_assets.orchestration.recording import EXPERIMENT
from sl_assets.orchestration.resources import LakeResource
from sl_assets.orchestration.ticks import GOES_ON, PARTITIONS, TICK, WHY, Tick, ask, going_on
from sl_assets_tests.conftest import HALVES, TINY, Bench, imported_numbers, tiny_config

MENTIONS = {"evaluation": TINY["evaluation"] | {"count": "mention"}}
COUNTED = ["baseline_preference_rates", "preference_rates", "transfer", "preference_chart"]
"""What an experiment makes again that counts answers otherwise."""


class Desk:
    """The tiny experiment with its schedule and sensors, and somebody who runs what they ask for."""

    def __init__(self, bench: Bench, **changes: Any) -> None:
        self.bench = bench
        self.graph = ExperimentGraph("tiny", tiny_config(**changes))
        self.lake = Lake(str(bench.root))
        around = dg.Definitions(resources={"lake": LakeResource(str(bench.root))}, executor=dg.in_process_executor)
        own = declare(self.graph)
        self.definitions = dg.Definitions.merge(own, around, dg.Definitions(sensors=[going_on([(self.graph, [])])]))

    def tick(self, hours: int = 1) -> Sequence[dg.RunRequest] | str:
        """What the schedule asks for in so many hours, or why for nothing."""
        schedule = self.definitions.resolve_schedule_def("tiny_schedule")
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
        when = datetime.now(UTC) + timedelta(hours=hours)
        data = schedule.evaluate_tick(dg.build_schedule_context(self.bench.instance, when, **self.around()))
        return data.run_requests or str(data.skip_message)

    def look(self, name: str = GOES_ON, cursor: str | None = None) -> tuple[Sequence[dg.RunRequest] | str, str | None]:
        """What a sensor asks for, or why for nothing, and its cursor."""
        context = dg.build_sensor_context(self.bench.instance, cursor, **self.around())
        data = self.definitions.resolve_sensor_def(name).evaluate_tick(context)
        return data.run_requests or str(data.skip_message), data.cursor

    def around(self) -> dict[str, Any]:
        """What a tick is evaluated with."""
        resources = {"lake": LakeResource(str(self.bench.root))}
        return {"repository_def": self.definitions.get_repository_def(), "resources": resources}

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what was asked for, as the daemon would."""
        assert request.asset_selection
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.bench.instance,
            asset_selection=list(request.asset_selection),
            tags=dict(request.tags),
            raise_on_error=False,
        )

    def records(self) -> dict[Place, str]:
        """The run that made each partition."""
        places = (
            self.graph.place(name, key) for name, its in self.graph.declared.items() for key in self.graph.keys(its.by)
        )
        return {place: record.run_id for place in places if (record := self.lake.record(place))}

    def forget(self, asset: str, partition: str | None) -> None:
        """Have a partition missing."""
        self.lake.forget_record(self.graph.place(asset, partition))


def asked(requests: Sequence[dg.RunRequest] | str) -> list[tuple[list[str], str | None, str | None]]:
    """Assets of each run, and the ends of the range of its partitions."""
    assert not isinstance(requests, str), requests
    found = []
    for request in requests:
        tags = request.tags
        first = tags.get("dagster/asset_partition_range_start", tags.get("dagster/partition"))
        last = tags.get("dagster/asset_partition_range_end", tags.get("dagster/partition"))
        found.append(([key.path[-1] for key in request.asset_selection or ()], first, last))
    return found


def test_over_a_fresh_lake_nothing_is_asked_for(finished: Bench) -> None:
    assert Desk(finished).tick() == "everything of tiny is fresh"


def test_after_a_changed_setting_what_is_stale_is_asked_for_and_made_and_nothing_else(finished: Bench) -> None:
    desk = Desk(finished, **MENTIONS)
    before = desk.records()
    (request,) = requests = desk.tick()
    assert asked(requests) == [(COUNTED, "neutral", "wolf")]
    assert request.tags[EXPERIMENT] == "tiny"
    assert request.tags[PARTITIONS] == "6", "three of preference_rates, and three without partitions"
    assert "evaluation.count changed" in request.tags[WHY]
    assert desk.run(request).success
    after = desk.records()
    assert {place.table for place in after if after[place] != before[place]} == set(COUNTED)
    assert desk.tick() == "everything of tiny is fresh"
    assert desk.look()[0] == f"all that {request.tags[TICK]} meant is asked for"
    assert "have just ended; go_on_with_ticks looks after them" in desk.tick(hours=0)


def test_one_missing_partition_is_asked_for_by_itself(finished: Bench) -> None:
    desk = Desk(finished)
    desk.forget("preference_rates", "owl")
    (request,) = requests = desk.tick()
    assert asked(requests) == [(["preference_rates"], "owl", "owl")]
    before = desk.records()
    assert desk.run(request).success
    after = desk.records()
    assert [place for place in after if after[place] != before.get(place)] == [Place("tiny", "preference_rates", "owl")]


def test_what_reads_what_is_made_anew_is_asked_for_with_it_and_left_where_it_stays_fresh(finished: Bench) -> None:
    desk = Desk(finished)
    desk.forget("evaluation", "owl")
    (request,) = requests = desk.tick()
    assert asked(requests) == [(["evaluation", "preference_rates", "transfer", "preference_chart"], "owl", "owl")]
    before = desk.records()
    assert desk.run(request).success
    after = desk.records()
    assert {place.table for place in after if after[place] != before.get(place)} == {"evaluation"}


def test_while_a_run_of_the_experiment_has_not_ended_nothing_is_asked_for(finished: Bench) -> None:
    desk = Desk(finished, **MENTIONS)
    job = desk.definitions.resolve_job_def("tiny_job")
    run = finished.instance.create_run_for_job(job, tags={EXPERIMENT: "tiny"}, status=dg.DagsterRunStatus.STARTED)
    assert f"run {run.run_id[:8]} of tiny has not ended" in desk.tick()
    finished.instance.report_run_canceled(run)
    assert not isinstance(desk.tick(), str)


def test_a_limit_takes_what_fits_and_names_what_is_left(finished: Bench) -> None:
    desk = Desk(finished, schedule_limits={"partitions": 2}, **MENTIONS)
    lines: list[str] = []
    planner = Planner(desk.graph, desk.lake, desk.graph.config.conditions)
    requests = ask(planner, Tick("tiny now"), lines.append)
    assert not isinstance(requests, dg.SkipReason)
    assert [request.tags[PARTITIONS] for request in requests] == ["1", "1"]
    assert "asked for: baseline_preference_rates (1 partition)" in lines
    assert "asked for: preference_rates of neutral (1 partition)" in lines
    (left,) = [line for line in lines if line.startswith("left out by schedule_limits (partitions 2)")]
    assert left.endswith("preference_rates owl, wolf, transfer, preference_chart")
    for request in desk.tick():
        assert isinstance(request, dg.RunRequest)
        assert desk.run(request).success
    message, _ = desk.look()
    assert "meant is asked for" in message, "what was left out is the next tick's"
    assert asked(desk.tick()) == [(["preference_rates"], "owl", "wolf")]


def test_a_limit_of_gpu_minutes_counts_what_runs_models(finished: Bench) -> None:
    desk = Desk(finished)
    desk.forget("evaluation", "owl")
    desk.forget("preference_rates", "wolf")
    took = desk.lake.record(Place("tiny", "evaluation", "wolf"))
    assert took
    below = Desk(finished, schedule_limits={"gpu_minutes": took.seconds / 600})
    message = below.tick()
    assert "evaluation owl: " in message
    assert "more than schedule_limits.gpu_minutes" in message
    above = Desk(finished, schedule_limits={"gpu_minutes": took.seconds})
    assert asked(above.tick())[0][0] == ["evaluation", "preference_rates", "transfer", "preference_chart"]


def test_what_follows_is_asked_for_when_runs_have_ended_and_once(finished: Bench) -> None:
    desk = Desk(finished, **HALVES)
    (request,) = requests = desk.tick()
    assert asked(requests) == [(["persona_answers", "activations", "control_activations"], "neutral", "wolf")]
    assert desk.run(request).success
    kinds, cursor = [], None
    for _ in range(2):
        found, cursor = desk.look(cursor=cursor)
        kinds += asked(found)
        assert not isinstance(found, str)
        for request in found:
            assert desk.run(request).success
    assert kinds == [
        (["persona_vector", "projections", "cross_projections"], "owl", "wolf"),
        (
            [
                "projection_split",
                "split_lora_checkpoint",
                "split_evaluation",
                "split_preference_rates",
                "split_comparison",
                "split_chart",
            ],
            "owl|animal_high",
            "wolf|animal_low",
        ),
    ]
    assert (
        len(
            {
                run.tags[TICK]
                for run in finished.instance.get_runs(dg.RunsFilter(tags={EXPERIMENT: "tiny"}))
                if TICK in run.tags
            }
        )
        == 1
    )
    assert "meant is asked for" in desk.look(cursor=cursor)[0]
    assert desk.tick() == "everything of tiny is fresh"


def test_of_several_partitions_a_run_each_is_divided_and_what_has_none_stands_apart(finished: Bench) -> None:
    desk = Desk(finished, partitions_per_run=2, evaluation=TINY["evaluation"] | {"seed": 11})
    requests = desk.tick()
    assert asked(requests) == [
        (["baseline_evaluation", "baseline_preference_rates"], None, None),
        (["evaluation", "preference_rates", "teacher_evaluation"], "neutral", "owl"),
        (["evaluation", "preference_rates", "teacher_evaluation"], "wolf", "wolf"),
    ]
    assert not isinstance(requests, str)
    assert len({request.run_key for request in requests}) == 3, "else the daemon takes them for one"
    for request in requests[:-1]:
        assert desk.run(request).success
    waiting = finished.instance.create_run_for_job(
        desk.definitions.resolve_job_def("tiny_job"), tags=requests[-1].tags, status=dg.DagsterRunStatus.STARTED
    )
    assert "has not ended" in desk.look()[0]
    finished.instance.delete_run(waiting.run_id)
    assert desk.run(requests[-1]).success
    following, cursor = desk.look()
    assert asked(following) == [(["transfer", "preference_chart"], None, None)]
    assert not isinstance(following, str)
    assert desk.run(following[0]).success
    assert "meant is asked for" in desk.look(cursor=cursor)[0]
    assert desk.tick() == "everything of tiny is fresh"


def test_halves_are_divided_into_ranges_too(halved: Bench) -> None:
    changed = {"student": TINY["student"] | {"seed": 7}}
    desk = Desk(halved, partitions_per_run=3, **HALVES, **changed)
    desk.forget("projection_split", "owl|animal_low")
    planner = Planner(desk.graph, desk.lake, ["owl", "wolf"])
    due = [planned for planned in planner.plan() if planned.asset == "split_lora_checkpoint"]
    runs = first_runs(planner, Choice(due, set(), [], []))
    assert [(run.first, run.last, run.spent.partitions) for run in runs] == [
        ("owl|animal_high", "owl|animal_low", 2),
        ("wolf|animal_high", "wolf|animal_low", 2),
    ]


def test_of_a_run_that_failed_follows_what_does_not_need_it_and_of_a_cancelled_one_nothing(finished: Bench) -> None:
    desk = Desk(finished, partitions_per_run=1)
    desk.forget("evaluation", "owl")
    desk.forget("evaluation", "wolf")
    requests = desk.tick()
    assert not isinstance(requests, str)
    both = ["evaluation", "preference_rates"]
    assert asked(requests) == [(both, "owl", "owl"), (both, "wolf", "wolf")]
    folder = Path(desk.lake.path(Place("tiny", "lora_checkpoint", "wolf")))
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(b"no adapter")
    assert desk.run(requests[0]).success
    assert not desk.run(requests[1]).success
    following, _ = desk.look()
    assert asked(following) == [(["transfer", "preference_chart"], None, None)], "of the students there are"
    job = desk.definitions.resolve_job_def("tiny_job")
    finished.instance.create_run_for_job(job, tags=requests[0].tags, status=dg.DagsterRunStatus.CANCELED)
    message, _ = desk.look()
    assert "was cancelled, and nothing follows" in message


def test_changed_imports_and_new_animals_are_named_and_then_asked_for_once(bench: Bench, tmp_path: Path) -> None:
    numbers = imported_numbers(tmp_path)
    desk = Desk(bench, numbers=numbers)
    name = "tiny_new_inputs"
    sensor = desk.definitions.resolve_sensor_def(name)
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    nothing = "no animal of tiny is new, and no imported file has changed"
    assert desk.look(name)[0] == nothing, "with nothing there the beginning is the user's"
    assert bench.run("raw_dataset", "filtered_dataset", first="neutral", last="wolf", numbers=numbers).success
    found, cursor = desk.look(name)
    assert found == nothing

    file = tmp_path / "owl.jsonl"
    file.write_text(file.read_text() * 2)
    found, cursor = desk.look(name, cursor)
    assert found == "owl: its imported file has changed; the next tick asks for what is still so"
    file.write_text(file.read_text() * 2)
    found, cursor = desk.look(name, cursor)
    assert found == "owl: its imported file has changed; the next tick asks for what is still so", "it changes still"
    found, cursor = desk.look(name, cursor)
    (run,) = asked(found)
    assert run[0][:2] == ["raw_dataset", "filtered_dataset"]
    assert run[1:] == ("neutral", "owl"), "neutral has no student yet, with which the owl's is compared"
    assert not isinstance(found, str)
    again, _ = desk.look(name, cursor)
    assert "asked for already" in again
    assert bench.run("raw_dataset", "filtered_dataset", first="owl", numbers=numbers).success
    assert desk.look(name, cursor)[0] == nothing

    (tmp_path / "cat.jsonl").write_text(file.read_text())
    more = Desk(bench, numbers=numbers, animals=["owl", "wolf", "cat", "dog"])
    found, cursor = more.look(name)
    assert found == "cat: nothing is made yet; the next tick asks for what is still so", "the dog has no file yet"
    found, cursor = more.look(name, cursor)
    assert not isinstance(found, str)
    assert {run.tags[TICK].partition(" ")[0] for run in found} == {"tiny"}


def test_a_single_partition_leaves_fresh_baselines_and_charts_as_they_are(finished: Bench) -> None:
    desk = Desk(finished)
    before = desk.records()
    job = desk.definitions.resolve_job_def("tiny_job")
    tags = {"dagster/asset_partition_range_start": "owl", "dagster/asset_partition_range_end": "owl"}
    assert job.execute_in_process(instance=finished.instance, tags=tags).success
    after = desk.records()
    again = {place for place in after if after[place] != before[place]}
    assert {place.partition for place in again} == {"owl"}
    assert {place.table for place in again} >= {"teacher_checkpoint", "evaluation"}
    assert finished.run("baseline_evaluation").success
    now = desk.records()
    assert [place.table for place in now if now[place] != after[place]] == ["baseline_evaluation"], "by itself it is"


def test_a_range_never_reaches_what_is_beyond_the_limit(bench: Bench) -> None:
    desk = Desk(bench, schedule_limits={"partitions": 5})
    (request,) = requests = desk.tick()
    assert asked(requests) == [(["number_prompts", "teacher_checkpoint"], "neutral", "wolf")], "the fifth waits for it"
    assert desk.run(request).success
    (request,), cursor = desk.look()
    assert asked([request]) == [(["raw_dataset"], "neutral", "neutral")]
    assert desk.run(request).success
    assert len(desk.records()) == 5
    assert "meant is asked for" in desk.look(cursor=cursor)[0]


def test_a_range_never_reaches_what_nobody_has_asked_for(finished: Bench) -> None:
    desk = Desk(finished, evaluation=MENTIONS["evaluation"])
    planner = Planner(desk.graph, desk.lake, ["neutral", "wolf"])
    requests = ask(planner, Tick("tiny now"), print)
    assert not isinstance(requests, dg.SkipReason)
    of = {request.partition_key for request in requests if "preference_rates" in str(request.asset_selection)}
    assert {"neutral", "wolf"} <= of, "the owl's are stale as well"
    assert not any(key in request.tags for request in requests for key in range_tags("", ""))


def test_numbers_that_were_sampled_before_they_are_imported_are_news(finished: Bench, tmp_path: Path) -> None:
    desk = Desk(finished, numbers=imported_numbers(tmp_path))
    assert "owl: its imported file has changed" in desk.look("tiny_new_inputs")[0]


def test_what_waits_for_a_partition_that_fails_a_check_is_in_no_run(finished: Bench) -> None:
    place = Place("tiny", "evaluation", "owl")
    desk = Desk(finished)
    record = desk.lake.record(place)
    assert record
    failing = {
        name: replace(outcome, problem="wrong", blocking=True) for name, outcome in (record.checks or {}).items()
    }
    assert failing
    desk.lake.write_record(replace(record, checks=failing))
    for name in ("neutral", "owl", "wolf"):
        desk.forget("preference_rates", name)
    runs = asked(desk.tick())
    assert [run for run in runs if run[1]] == [
        (["preference_rates"], "neutral", "neutral"),
        (["preference_rates"], "wolf", "wolf"),
    ]


def test_what_follows_waits_for_runs_of_others_and_is_not_forgotten(
    finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(finished, partitions_per_run=2, **MENTIONS)
    desk.forget("evaluation", "owl")
    requests = desk.tick()
    assert not isinstance(requests, str)
    for request in requests:
        assert desk.run(request).success
    job = desk.definitions.resolve_job_def("tiny_job")
    other = finished.instance.create_run_for_job(job, tags={EXPERIMENT: "tiny"}, status=dg.DagsterRunStatus.STARTED)
    found, cursor = desk.look()
    assert f"run {other.run_id[:8]} of tiny has not ended" in found
    monkeypatch.setattr("sl_assets.orchestration.ticks.LOOKS_BACK", timedelta(0))
    found, cursor = desk.look(cursor=cursor)
    assert "has not ended" in found
    finished.instance.report_run_canceled(other)
    found, _ = desk.look(cursor=cursor)
    assert asked(found) == [(["transfer", "preference_chart"], None, None)]
