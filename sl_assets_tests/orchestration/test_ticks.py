"""Ticks of schedules and sensors over a real lake: what they ask for, what becomes of it, and what follows."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest

from sl_assets.components import declare
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.orchestration.asset import ExperimentGraph
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

    def tick(self) -> Sequence[dg.RunRequest] | str:
        """What the schedule asks for, or why for nothing."""
        schedule = self.definitions.resolve_schedule_def("tiny_schedule")
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
        context = dg.build_schedule_context(self.bench.instance, repository_def=self.definitions.get_repository_def())
        data = schedule.evaluate_tick(context)
        return data.run_requests or str(data.skip_message)

    def look(self, name: str = GOES_ON, cursor: str | None = None) -> tuple[Sequence[dg.RunRequest] | str, str | None]:
        """What a sensor asks for, or why for nothing, and its cursor."""
        context = dg.build_sensor_context(
            self.bench.instance, cursor=cursor, repository_def=self.definitions.get_repository_def()
        )
        data = self.definitions.resolve_sensor_def(name).evaluate_tick(context)
        return data.run_requests or str(data.skip_message), data.cursor

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
    assert desk.look()[0] == "everything of tiny is fresh", "nothing follows"


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
    run = finished.instance.create_run_for_job(job, tags={EXPERIMENT: "tiny"}, status=dg.DagsterRunStatus.QUEUED)
    assert f"run {run.run_id[:8]} of tiny has not ended" in desk.tick()
    finished.instance.report_run_canceled(run)
    assert not isinstance(desk.tick(), str)


def test_a_limit_takes_what_fits_and_names_what_is_left(finished: Bench) -> None:
    desk = Desk(finished, schedule_limits={"partitions": 2}, **MENTIONS)
    lines: list[str] = []
    planner = Planner(desk.graph, desk.lake, desk.graph.config.conditions)
    requests = ask(planner, Tick("tiny now"), lines.append)
    assert not isinstance(requests, dg.SkipReason)
    assert [request.tags[PARTITIONS] for request in requests] == ["2"]
    assert "asked for: preference_rates of neutral to owl (2 partitions)" in lines
    (left,) = [line for line in lines if line.startswith("left out by schedule_limits (partitions 2)")]
    assert left.endswith("preference_rates wolf, baseline_preference_rates, transfer, preference_chart")
    (request,) = desk.tick()
    assert desk.run(request).success
    message, _ = desk.look()
    assert "was allowed by schedule_limits is asked for" in message
    assert asked(desk.tick()) == [(["preference_rates", "baseline_preference_rates"], "wolf", "wolf")]


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
    assert asked(requests) == [
        (["teacher_evaluation", "persona_answers", "activations", "control_activations"], "neutral", "wolf")
    ]
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
    assert desk.look(cursor=cursor)[0] == desk.tick() == "everything of tiny is fresh"
