"""Jobs, schedule and sensors of an experiment.

A job has one kind of partitions only, so an experiment has up to three: of its conditions, its animals, its halves. The
schedule starts the first; sensors start each of the others when the one before it has succeeded on schedule.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import dagster as dg

from sl_assets.config import ExperimentConfig
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.asset import ExperimentGraph, Partitioning
from sl_assets.orchestration.dagster_internals import ASK_FOR_RANGE
from sl_assets.orchestration.recording import EXPERIMENT

ON_SCHEDULE = "sl_assets/on_schedule"
"""Tag of runs that the schedule started, directly or through a sensor."""

JOBS: dict[Partitioning, tuple[str, str]] = {
    "condition": ("", "datasets, students, evaluations and activations"),
    "animal": ("_personas", "persona vectors and projections"),
    "split": ("_splits", "halves and their students"),
}
"""What is added to the experiment's name, and what the job makes."""


def experiment_jobs(graph: ExperimentGraph, assets: Sequence[dg.AssetsDefinition]) -> dg.Definitions:
    """Jobs over ``assets`` (parents first), the schedule of the first and the sensors of the others."""
    jobs = {by: _job(graph, by, members) for by, members in _by_partitioning(graph, assets).items()}
    return dg.Definitions(
        jobs=list(jobs.values()),
        schedules=[_schedule(graph, jobs["condition"])],
        sensors=[_follow(graph, jobs[before], jobs[by], by) for before, by in pairwise(jobs)],
    )


def _by_partitioning(
    graph: ExperimentGraph, assets: Sequence[dg.AssetsDefinition]
) -> dict[Partitioning, list[dg.AssetsDefinition]]:
    """Assets by the finest partitions among theirs and their parents'."""
    kinds = list(graph.partitions)
    fineness: dict[dg.AssetKey, int] = {}
    found: dict[Partitioning, list[dg.AssetsDefinition]] = {}
    for asset in assets:
        (spec,) = asset.specs
        own = next((i for i, by in enumerate(kinds) if graph.partitions[by] == spec.partitions_def), 0)
        fineness[spec.key] = max([own, *(fineness[dep.asset_key] for dep in spec.deps)])
        found.setdefault(kinds[fineness[spec.key]], []).append(asset)
    return found


def _job(graph: ExperimentGraph, by: Partitioning, assets: Sequence[dg.AssetsDefinition]) -> Any:
    infix, what = JOBS[by]
    return dg.define_asset_job(
        f"{graph.name}{infix}_job",
        selection=list(assets),
        partitions_def=graph.partitions[by],
        description=f"The {what} of {graph.name}, for the partitions chosen.",
        tags={EXPERIMENT: graph.name},
    )


def check_schedule(config: ExperimentConfig) -> None:
    """Check that Dagster understands the experiment's schedule.

    Raises:
        ExperimentFileError: it does not.
    """
    try:
        dg.ScheduleDefinition(job_name="any", cron_schedule=config.schedule)
    except dg.DagsterInvalidDefinitionError:
        raise ExperimentFileError(
            f"attributes.schedule = {config.schedule!r}: no cron schedule; write five fields, as in '0 3 * * 1'"
        ) from None


def _schedule(graph: ExperimentGraph, job: Any) -> dg.ScheduleDefinition:
    """Rematerialise all partitions in one run, so that the model loads once."""

    @dg.schedule(
        name=f"{graph.name}_schedule",
        cron_schedule=graph.config.schedule,
        job=job,
        description=f"Rematerialise every partition of {graph.name}.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def rematerialise(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(tags=_everything(graph, "condition"))

    return rematerialise


def _follow(graph: ExperimentGraph, before: Any, job: Any, by: Partitioning) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        name=f"{job.name}_on_schedule",
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[before],
        request_job=job,
        description=f"Rematerialise every partition of {job.name} after {before.name}, where that ran on schedule.",
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def follow(context: dg.RunStatusSensorContext) -> dg.RunRequest | None:
        if ON_SCHEDULE not in context.dagster_run.tags:
            return None
        return dg.RunRequest(run_key=context.dagster_run.run_id, tags=_everything(graph, by))

    return follow


def _everything(graph: ExperimentGraph, by: Partitioning) -> dict[str, str]:
    keys = graph.partitions[by].get_partition_keys()
    return range_tags(keys[0], keys[-1]) | {ON_SCHEDULE: "true"}


def range_tags(first: str, last: str) -> dict[str, str]:
    """Run tags that ask for the partitions from ``first`` to ``last`` in one run."""
    return dict(zip(ASK_FOR_RANGE, (first, last), strict=True))
