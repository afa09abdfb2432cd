"""Schedule and sensors of experiments: they ask for what is missing or stale, and for nothing else.

A schedule's tick plans like ``sl-assets run``, chooses what its limits allow, and asks for the runs that can start at
once. Whenever the runs of a tick have ended, `going_on` asks for those that follow, within the same limits. Variants
have no schedule: their experiment's looks after them.
"""

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

import dagster as dg

from sl_assets.animals import NEUTRAL
from sl_assets.config import ExperimentConfig
from sl_assets.errors import ExperimentFileError
from sl_assets.lake.lake import Lake
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.choosing import NOTHING, Choice, Run, Spent, choose, first_runs, seconds_of_models
from sl_assets.orchestration.dagster_internals import GRAPH_JOB
from sl_assets.orchestration.declaration import IMPORTED
from sl_assets.orchestration.durations import duration
from sl_assets.orchestration.jobs import range_tags
from sl_assets.orchestration.outlook import plan_lines
from sl_assets.orchestration.planner import Planned, Planner, listed
from sl_assets.orchestration.recording import EXPERIMENT, WHERE_STALE
from sl_assets.orchestration.resources import LakeResource

TICK = "sl_assets/tick"
"""Tag of runs that a tick asked for: the experiment, and when."""

PARTITIONS, GPU_MINUTES, WHY = "sl_assets/partitions", "sl_assets/gpu_minutes", "sl_assets/why"
"""Tags of such runs: how many partitions they make, how long models may run for them, and why."""

# Dagster's UI hides tags that begin so.
ASKED_BY, CONDITIONS_MEANT = ".dagster/sl_assets/asked_by", ".dagster/sl_assets/conditions"
"""Tags of such runs: always the same, by which they are found; and the conditions that the tick was about."""

AFTERWARDS = ".dagster/sl_assets/afterwards"
"""Tag of such runs: assets that the tick means to ask for when they have ended."""

ANY_TICK = {ASKED_BY: "tick"}

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.MANAGED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

LOOKS_BACK = timedelta(minutes=2)
"""Runs that ended so long before the last look are looked at again: two clocks, or a look that was cut short."""

WHYS = 3
"""Reasons that a run's tag names."""

Say = Callable[[str], Any]
"""Takes a line of a tick's log."""


def experiment_ticks(graph: ExperimentGraph, variants: Sequence[ExperimentGraph] = ()) -> dg.Definitions:
    """The schedule of an experiment and its ``variants``, and the sensor of its imports and animals."""
    if not graph.declared:
        return dg.Definitions()
    return dg.Definitions(schedules=[_schedule(graph, variants)], sensors=[_new_inputs(graph, variants)])


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


def _schedule(graph: ExperimentGraph, variants: Sequence[ExperimentGraph]) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"{graph.name}_schedule",
        cron_schedule=graph.config.schedule,
        job_name=GRAPH_JOB,
        description=f"Make what is missing or stale of {graph.name}, and nothing else, within its `schedule_limits`. "
        "The log of a tick says what, why, and how long it may take. Runs that have to wait for others are asked for "
        f"by {GOES_ON}.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def rematerialise(
        context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[LakeResource]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = context.scheduled_execution_time
        if found := busy(context.instance, (graph, *variants), now):
            return dg.SkipReason(found)
        planner = Planner(graph, lake.open(), graph.config.conditions, variants=variants)
        return ask(planner, Tick.begun(graph, now), context.log.info)

    return rematerialise


class Tick(NamedTuple):
    """A tick, and what it has asked for so far.

    Attributes:
        name: the experiment and when.
        spent: of the experiment's limits.
        meant: assets, as ``experiment/name``, that it may ask for still; None for all.
    """

    name: str
    spent: Spent = NOTHING
    meant: frozenset[str] | None = None

    @classmethod
    def begun(cls, graph: ExperimentGraph, when: datetime) -> "Tick":
        """That of ``graph``, at a time."""
        return cls(f"{graph.name} {when.astimezone(UTC):%Y-%m-%d %H:%M:%S}")

    @classmethod
    def that_asked_for(cls, runs: Sequence[dg.DagsterRun]) -> "Tick":
        """The one whose ``runs`` these are, the newest first."""
        # A run that goes on with one that failed was asked for by somebody else.
        own = [run for run in runs if run.parent_run_id is None]
        spent = Spent(
            sum(int(run.tags[PARTITIONS]) for run in own), 60 * sum(float(run.tags[GPU_MINUTES]) for run in own)
        )
        return cls(runs[0].tags[TICK], spent, frozenset(runs[0].tags[AFTERWARDS].split()))


def ask(planner: Planner, tick: Tick, say: Say) -> list[dg.RunRequest] | dg.SkipReason:
    """What ``tick`` asks for now of what ``planner`` wants; or why for nothing."""
    limits = planner.graph.config.schedule_limits
    choice = choose(planner, limits, tick.spent, tick.meant)
    runs = first_runs(planner, choice)
    now = {f"{run.graph.name}/{name}" for run in runs for name in run.assets}
    afterwards = [planned for planned in choice.asked if _full_name(planner, planned.asset) not in now]
    if runs or choice.left:
        for line in chain(plan_lines(planner), _said_of(planner, runs, choice, afterwards)):
            say(line)
    if runs:
        return [_request(planner, tick, run, afterwards) for run in runs]
    return dg.SkipReason(_why_nothing(planner, tick, choice))


def _request(planner: Planner, tick: Tick, run: Run, afterwards: Sequence[Planned]) -> dg.RunRequest:
    more = f" and {len(run.whys) - WHYS} more" if len(run.whys) > WHYS else ""
    one = run.first if run.first == run.last else None
    return dg.RunRequest(
        # By it two runs of a tick are told apart, and none is launched twice.
        run_key=json.dumps([tick.name, run.graph.name, run.assets[0], run.first]),
        asset_selection=[run.graph.key(name) for name in run.assets],
        partition_key=one,
        tags={
            **(range_tags(run.first, run.last) if run.first and run.last and not one else {}),
            **ANY_TICK,
            EXPERIMENT: run.graph.name,
            TICK: tick.name,
            PARTITIONS: str(run.spent.partitions),
            GPU_MINUTES: f"{run.spent.gpu_seconds / 60:.2f}",
            WHY: "; ".join(run.whys[:WHYS]) + more,
            CONDITIONS_MEANT: ",".join(planner.conditions),
            AFTERWARDS: " ".join(_full_name(planner, planned.asset) for planned in afterwards),
            WHERE_STALE: "true",
        },
    )


def _full_name(planner: Planner, asset: str) -> str:
    graph, name = planner.whose(asset)
    return f"{graph.name}/{name}"


def _said_of(planner: Planner, runs: Sequence[Run], choice: Choice, afterwards: Sequence[Planned]) -> Iterator[str]:
    limits = planner.graph.config.schedule_limits.model_dump(exclude_none=True)
    for run in runs:
        of = f" of {run.first}" if run.first and run.first == run.last else f" of {run.first} to {run.last}"
        yield f"asked for: {', '.join(run.assets)}{of if run.first else ''} ({_amount(run.spent)})"
    if afterwards:
        yield f"asked for afterwards, if still due: {_partitions_of(afterwards)}"
    if choice.left:
        bounds = ", ".join(f"{name} {value:g}" for name, value in limits.items())
        yield f"left out by schedule_limits ({bounds}): {_partitions_of(choice.left)}"
    if choice.waiting:
        yield f"due, and not asked for by this tick: {', '.join(map(str, choice.waiting))}"


def _amount(spent: Spent) -> str:
    minutes = f", models for {duration(spent.gpu_seconds)}" if spent.gpu_seconds else ""
    return f"{spent.partitions} {'partition' if spent.partitions == 1 else 'partitions'}{minutes}"


def _partitions_of(planned: Sequence[Planned]) -> str:
    return ", ".join(f"{one.asset} {listed(list(one.due))}".strip() for one in planned)


def _why_nothing(planner: Planner, tick: Tick, choice: Choice) -> str:
    name, limits = planner.graph.name, planner.graph.config.schedule_limits
    if choice.left and tick.spent.partitions:
        return f"what {tick.name} was allowed by schedule_limits is asked for"
    if choice.left:
        first = choice.left[0]
        takes = seconds_of_models(planner, first) / 60
        return (
            f"{first.asset} {listed(list(first.due)[:1])}: {takes:.1f} minutes of running models are more than "
            f"schedule_limits.gpu_minutes {limits.gpu_minutes:g} of {name}; raise it"
        )
    if choice.waiting:
        return f"{len(choice.waiting)} partitions of {name} are due and wait for others, as {choice.waiting[0]}"
    return f"everything of {name} is fresh" if tick.meant is None else f"nothing that follows {tick.name} is due"


def busy(instance: dg.DagsterInstance, graphs: Sequence[ExperimentGraph], now: datetime) -> str | None:
    """That runs of ``graphs`` have not ended, or have just now and others may follow; None where neither is so."""
    lately = dg.RunsFilter(
        tags={EXPERIMENT: [graph.name for graph in graphs], **ANY_TICK}, updated_after=now - LOOKS_BACK
    )
    for run in instance.get_runs(lately, limit=1):
        return unfinished(instance, graphs) or f"runs of {run.tags[TICK]} have just ended; {GOES_ON} looks after them"
    return unfinished(instance, graphs)


def unfinished(instance: dg.DagsterInstance, graphs: Sequence[ExperimentGraph]) -> str | None:
    """That a run of one of ``graphs`` has not ended, whoever started it; None where all have."""
    names = [graph.name for graph in graphs]
    for run in instance.get_runs(dg.RunsFilter(tags={EXPERIMENT: names}, statuses=UNFINISHED), limit=1):
        return f"run {run.run_id[:8]} of {run.tags[EXPERIMENT]} has not ended; what is due then, a later tick asks for"
    return None


GOES_ON = "go_on_with_ticks"


def going_on(experiments: Sequence[tuple[ExperimentGraph, Sequence[ExperimentGraph]]]) -> dg.SensorDefinition:
    """The sensor that asks for what follows the runs of a tick, for all ``experiments``, each with its variants."""
    known = {graph.name: (graph, variants) for graph, variants in experiments}

    @dg.sensor(
        name=GOES_ON,
        job_name=GRAPH_JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ask for the runs that follow those of a schedule or sensor, once they have ended. Where one was "
        "cancelled, nothing follows; of one that failed, what does not depend on it.",
    )
    def go_on(context: dg.SensorEvaluationContext, lake: dg.ResourceParam[LakeResource]) -> dg.SensorResult:
        begun, before = datetime.now(UTC), json.loads(context.cursor or "{}")
        since = datetime.fromisoformat(before["looked"]) if before else begun - timedelta(days=1)
        lately = context.instance.get_runs(dg.RunsFilter(tags=ANY_TICK, updated_after=since - LOOKS_BACK))
        # Of each experiment the last one: it has planned everything anew.
        names = sorted({*before.get("waiting", ()), *(run.tags[TICK] for run in lately)})
        requests: list[dg.RunRequest] = []
        waiting, said = [], []
        for name in {_experiment_of(name): name for name in names if _experiment_of(name) in known}.values():
            graph, variants = known[_experiment_of(name)]
            if why := unfinished(context.instance, (graph, *variants)):
                waiting.append(name)
                said.append(why)
                continue
            found = _following(context, graph, variants, name, lake.open())
            if isinstance(found, dg.SkipReason):
                said.append(str(found.skip_message))
            else:
                requests += found
        cursor = json.dumps({"looked": begun.isoformat(), "waiting": waiting})
        if requests:
            return dg.SensorResult(requests, cursor=cursor)
        reason = "; ".join(said) or "no run of a schedule or sensor has ended lately"
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=cursor)

    return go_on


def _experiment_of(tick: str) -> str:
    return tick.partition(" ")[0]


def _following(
    context: dg.SensorEvaluationContext,
    graph: ExperimentGraph,
    variants: Sequence[ExperimentGraph],
    name: str,
    lake: Lake,
) -> list[dg.RunRequest] | dg.SkipReason:
    runs = context.instance.get_runs(dg.RunsFilter(tags={TICK: name}))
    if any(run.status is dg.DagsterRunStatus.CANCELED for run in runs):
        return dg.SkipReason(f"a run of {name} was cancelled, and nothing follows")
    tick = Tick.that_asked_for(runs)
    if not tick.meant:
        return dg.SkipReason(f"all that {name} meant is asked for")
    planner = Planner(graph, lake, runs[0].tags[CONDITIONS_MEANT].split(","), variants=variants)
    return ask(planner, tick, context.log.info)


def _new_inputs(graph: ExperimentGraph, variants: Sequence[ExperimentGraph]) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{graph.name}_new_inputs",
        job_name=GRAPH_JOB,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Make what follows from new animals of {graph.name} and from changed files of imported numbers, "
        "within its `schedule_limits`. A tick says what is new; the next one asks for it, once, unless it has changed "
        "again.",
    )
    def new_inputs(context: dg.SensorEvaluationContext, lake: dg.ResourceParam[LakeResource]) -> dg.SensorResult:
        found, before = news(graph, lake.open()), json.loads(context.cursor or "{}")
        lasting = {name: state for name, state in found.items() if before.get(name, {}).get("state") == state}
        asked = {name for name in lasting if before[name]["asked"]}
        fresh = [name for name in graph.config.conditions if name in lasting and name not in asked]
        requests: list[dg.RunRequest] | dg.SkipReason = dg.SkipReason(_noticed(graph, found, asked))
        now = datetime.now(UTC)
        if fresh and (why := busy(context.instance, (graph, *variants), now)):
            requests = dg.SkipReason(why)
        elif fresh:
            # As a command does it: neutral, with which they are compared, comes along.
            wanted = [name for name in graph.config.conditions if name in fresh or name == NEUTRAL]
            context.log.info(_noticed(graph, found, asked))
            planner = Planner(graph, lake.open(), wanted, variants=variants)
            requests = ask(planner, Tick.begun(graph, now), context.log.info)
            asked.update(fresh)
        cursor = json.dumps({name: {"state": state, "asked": name in asked} for name, state in found.items()})
        if isinstance(requests, dg.SkipReason):
            return dg.SensorResult(skip_reason=requests, cursor=cursor)
        return dg.SensorResult(requests, cursor=cursor)

    return new_inputs


MISSING = "new"


def news(graph: ExperimentGraph, lake: Lake) -> dict[str, str]:
    """Conditions of which nothing is made yet, beside others, or whose imported file is another than the one read.

    Returns:
        By condition `MISSING`, or the fingerprint of the file. One whose file is not there is none.
    """
    keyed = [name for name, declared in graph.declared.items() if declared.by == "condition"]
    records = {
        name: {asset: record for asset in keyed if (record := lake.record(graph.place(asset, name)))}
        for name in graph.config.conditions
    }
    if not any(records.values()):
        return {}
    importing = [asset for asset in keyed if graph.declared[asset].inputs]
    found: dict[str, str] = {}
    for name, there in records.items():
        inputs = {asset: graph.inputs(graph.place(asset, name), lake, lake.record) for asset in importing}
        files = {asset: read[IMPORTED] for asset, read in inputs.items() if IMPORTED in read}
        changed = [
            file for asset, file in files.items() if asset in there and there[asset].inputs.get(IMPORTED) != file
        ]
        if all(files.values()) and (changed or not there):
            found[name] = changed[0] if changed else MISSING
    return found


def _noticed(graph: ExperimentGraph, found: Mapping[str, str], asked: Container[str]) -> str:
    if not found:
        return f"no animal of {graph.name} is new, and no imported file has changed"
    said = (
        f"{name}: {'nothing is made yet' if state == MISSING else 'its imported file has changed'}"
        + (", asked for already; `sl-assets status` says what became of it" if name in asked else "")
        for name, state in found.items()
    )
    return "; ".join(said) + (
        "" if all(name in asked for name in found) else "; the next tick asks for what is still so"
    )
