"""Jobs, schedule and sensors of an experiment.

A job has one kind of partitions only, so an experiment has up to three: of its conditions, its animals, its halves. The
schedule starts the first where anything of the experiment is missing or stale; sensors start each of the others when
the one before it has succeeded on schedule. Such runs make what is not fresh, and nothing else. Variants have no
schedule: their first job follows the last one of their experiment.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import dagster as dg

from sl_assets.config import ExperimentConfig
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.dagster_internals import ASK_FOR_RANGE
from sl_assets.orchestration.declaration import Partitioning
from sl_assets.orchestration.outlook import plan_lines
from sl_assets.orchestration.planner import Planner
from sl_assets.orchestration.recording import EXPERIMENT, WHERE_STALE
from sl_assets.orchestration.resources import LakeResource

ON_SCHEDULE = "sl_assets/on_schedule"
"""Tag of runs that the schedule started, directly or through a sensor."""

JOBS: dict[Partitioning, tuple[str, str]] = {
    "condition": ("", "datasets, students, evaluations and activations"),
    "animal": ("_personas", "persona vectors and projections"),
    "split": ("_splits", "halves and their students"),
}
"""What is added to the experiment's name, and what the job makes."""


def experiment_jobs(
    graph: ExperimentGraph,
    assets: Sequence[dg.AssetsDefinition],
    after: Any = None,
    variants: Sequence[ExperimentGraph] = (),
) -> dg.Definitions:
    """Jobs over ``assets`` (parents first), what starts the first, and the sensors of the others.

    The first is started by a schedule, which looks after the ``variants``, too; that of a variant once ``after``, the
    last job of its experiment, has succeeded on schedule.
    """
    jobs = {by: _job(graph, by, members) for by, members in _by_partitioning(graph, assets).items()}
    if not jobs:
        return dg.Definitions()
    first = next(iter(jobs))
    followed = [(jobs[before], by) for before, by in pairwise(jobs)] + ([(after, first)] if after else [])
    return dg.Definitions(
        jobs=list(jobs.values()),
        schedules=[] if after else [_schedule(graph, jobs[first], first, variants)],
        sensors=[_follow(graph, before, jobs[by], by) for before, by in followed],
    )


def _by_partitioning(
    graph: ExperimentGraph, assets: Sequence[dg.AssetsDefinition]
) -> dict[Partitioning, list[dg.AssetsDefinition]]:
    """Assets by the finest partitions among theirs and their parents', the coarsest first."""
    kinds = list(graph.partitions)
    known: dict[tuple[str, str], int] = {}

    def fineness(its: ExperimentGraph, name: str) -> int:
        if (its.name, name) not in known:
            declared = its.declared[name]
            own = kinds.index(declared.by) if declared.by in kinds else 0
            known[its.name, name] = max([own, *(fineness(its.source_of(dep), dep.asset) for dep in declared.deps)])
        return known[its.name, name]

    found: dict[int, list[dg.AssetsDefinition]] = {}
    for asset in assets:
        found.setdefault(fineness(graph, asset.key.path[-1]), []).append(asset)
    return {kinds[fine]: found[fine] for fine in sorted(found)}


def _job(graph: ExperimentGraph, by: Partitioning, assets: Sequence[dg.AssetsDefinition]) -> Any:
    infix, what = JOBS[by]
    return dg.define_asset_job(
        f"{graph.name}{infix}_job",
        selection=list(assets),
        partitions_def=graph.partitions[by],
        description=f"The {what} of {graph.name}, for the partitions chosen: made, whether fresh or not. "
        f"`sl-assets run {graph.name}` makes what is missing or stale, and nothing else.",
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


def _schedule(
    graph: ExperimentGraph, job: Any, by: Partitioning, variants: Sequence[ExperimentGraph] = ()
) -> dg.ScheduleDefinition:
    """Rematerialise what is missing or stale in one run, so that the model loads once."""

    @dg.schedule(
        name=f"{graph.name}_schedule",
        cron_schedule=graph.config.schedule,
        job=job,
        description=f"Run {job.name} where anything of {graph.name} is missing or stale, and make that alone. A tick "
        "that finds something due writes what, why, and how long it may take into its log.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def rematerialise(
        context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[LakeResource]
    ) -> dg.RunRequest | dg.SkipReason:
        planner = Planner(graph, lake.open(), graph.config.conditions, variants=variants)
        # Of another experiment's assets its own schedule takes care. Records are read once for all.
        own = [asset for asset in planner.assets if planner.whose(asset)[0] in (graph, *variants)]
        now = graph.staleness(planner.lake)
        if not any(planner.due(asset, now).due for asset in own):
            return dg.SkipReason(f"everything of {graph.name} is fresh")
        for line in plan_lines(planner):
            context.log.info(line)
        return dg.RunRequest(tags=_everything(graph, by))

    return rematerialise


def _follow(graph: ExperimentGraph, before: Any, job: Any, by: Partitioning) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        name=f"{job.name}_on_schedule",
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[before],
        request_job=job,
        description=f"Run {job.name} once {before.name} has succeeded on schedule, and make what is missing or stale "
        "alone.",
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def follow(context: dg.RunStatusSensorContext) -> dg.RunRequest | None:
        if ON_SCHEDULE not in context.dagster_run.tags:
            return None
        return dg.RunRequest(run_key=context.dagster_run.run_id, tags=_everything(graph, by))

    return follow


def _everything(graph: ExperimentGraph, by: Partitioning) -> dict[str, str]:
    keys = graph.partitions[by].get_partition_keys()
    return range_tags(keys[0], keys[-1]) | {ON_SCHEDULE: "true", WHERE_STALE: "true"}


def range_tags(first: str, last: str) -> dict[str, str]:
    """Run tags that ask for the partitions from ``first`` to ``last`` in one run."""
    return dict(zip(ASK_FOR_RANGE, (first, last), strict=True))
