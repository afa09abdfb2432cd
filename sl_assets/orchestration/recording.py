"""One step of a Dagster run: makes its partitions one after another and records each.

One run serves a whole backfill, so that a model loads once; still every partition gets its own record and data version.
A record is written as soon as its partition is made, and Dagster is told at once, so a run may end at any moment: what
it finished stays finished. A partition that fails for a reason of its own leaves the others to go on.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from sl_assets.engines.cards import lease
from sl_assets.errors import AbsentError, DatasetError, PassingError, SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pin
from sl_assets.lake.records import Record, Settings, behind_parents, settings_digest
from sl_assets.lake.replicates import but_for_seeds, made_alike
from sl_assets.lake.spending import Ledger
from sl_assets.lake.tables import keys_of
from sl_assets.lake.unfinished import remove_orphans
from sl_assets.lake.views import refresh_views
from sl_assets.liveness import alive
from sl_assets.orchestration.checks import decide, decide_behind
from sl_assets.orchestration.commits import settle_commit
from sl_assets.orchestration.dagster_internals import (
    ASK_FOR_RANGE,
    BACKFILL,
    PARTITION,
    as_stored,
    check_event,
    has_partitions,
    materialisation_event,
    note_code_location,
    report_check,
    report_own_failure,
    version_tags,
)
from sl_assets.orchestration.gpu_pool import require_whole_runs
from sl_assets.orchestration.metadata import FilePath, Link, Markdown, rounded
from sl_assets.orchestration.migration import migrate
from sl_assets.orchestration.partition import Make, Product, Step, Terminal
from sl_assets.orchestration.run_processes import note_process
from sl_assets.orchestration.watchdog import watched

if TYPE_CHECKING:
    from sl_assets.orchestration.asset import ExperimentGraph
    from sl_assets.orchestration.declaration import Declared

LIBRARIES = ("torch", "transformers", "peft", "vllm", "unsloth", "openai")
"""Those whose versions are recorded, where they are installed."""

EXPERIMENT = "experiment"
"""Run tag that names the experiment, whatever launched the run."""

CONDITIONS = "conditions"
"""Run tag that names the conditions whose partitions the run makes."""

CONDITIONS_NAMED = 4
"""So many at most, and how many there are beside them."""

PLANNED = ".dagster/sl_assets/planned_at"
"""Run tag: when it was decided what the run should make. Dagster's UI hides tags that begin so."""

WHERE_STALE = "sl_assets/where_stale"
"""Tag of runs that make what is missing or stale of what they ask for, and leave the rest."""

EVER = datetime.min.replace(tzinfo=UTC)
"""As the time at which something was asked for: whatever is fresh was made since."""

CLOCKS_APART = timedelta(minutes=5)
"""So far may the clocks of machines that share a lake lie apart."""

RETRIES, SECONDS_BEFORE_RETRY = 3, 10
"""Of a step whose service did not answer; the wait triples each time."""

OF_ONE_PARTITION = (DatasetError, AbsentError)
"""Errors that tell of one partition and nothing of the others."""


@dataclass(frozen=True)
class Materialisation:
    """The partitions of an asset that one step is asked for.

    Attributes:
        graph, declared: the experiment, and which of its assets.
        context, lake: where it runs, and where its results go.
    """

    graph: "ExperimentGraph"
    declared: "Declared"
    context: dg.AssetExecutionContext
    lake: Lake

    def events(self, make: Make) -> Iterator[Any]:
        """Make every partition, and check it; yields what Dagster is to record."""
        note_process(self.context.instance, self.context.run.run_id)
        note_code_location(self.context.instance, self.context.run)
        partitions = self._partitions()
        # A backfill of assets gives its runs none but its own tags.
        self.context.instance.add_run_tags(self.context.run.run_id, run_tags(self.graph.name, partitions))
        made: dict[str | None, Record] = {}
        failed: dict[str | None, str] = {}
        try:
            tags, settings = self._prepared()
            asked = asked_at(self.context.instance, self.context.run, comes_along=partitions == [None])
            # Before any partition is held: whoever has the cards may be about to make it.
            if self.declared.gpu and not all(self._made_since(partition, asked) for partition in partitions):
                self._lease_cards()
            # What others are making comes last: it may be there by then, and nobody waits meanwhile.
            queue = [(partition, False) for partition in partitions]
            for partition, wait in queue:
                place = self.graph.place(self.declared.name, partition)
                try:
                    # First, for what a check says of a parent decides what is made of it.
                    decide_behind(self.graph, self.lake, place, self._tell)
                    with self.lake.making(place, wait) as ours:
                        if not ours:
                            queue.append((partition, True))
                            self._say(f"{place} is being made by another run")
                            continue
                        if there := self._made_since(partition, asked):
                            since = "" if asked == EVER else " since this was asked for"
                            self.context.log.info(f"{place}: made by run {there.run_id}{since}, not made again")
                        made[partition] = there or self._make(make, partition, settings)
                except OF_ONE_PARTITION as error:
                    failed[partition] = str(error)
                    self.context.log.error(str(error))
                    continue
                if len(partitions) > 1:
                    yield event_of(self.context.asset_key, made[partition], tags)
            # After all are made: partitions that belong together are checked against each other.
            decided = {partition: decide(self.graph, self.lake, record.place) for partition, record in made.items()}
            checked = [record for record in decided.values() if record]
            failed |= {
                partition: f"{self.graph.place(self.declared.name, partition)} was damaged as soon as it was made: "
                "look at the disk, and materialise it again"
                for partition, record in decided.items()
                if not record
            }
        except PassingError as error:
            raise self._another_try(error) from error
        except SlAssetsError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if not failed:
            yield from self._results(checked, tags)
        yield from self._check_events(checked)
        if failed:
            raise failure(failed)

    def _prepared(self) -> tuple[dict[str, str], Settings]:
        """Put the lake in order and settle what the Hub's models are.

        Returns:
            Tags for the partitions' events, and the settings with the commits that this process takes.
        """
        if self.lake.local:
            remove_orphans(Path(self.lake.root))
        migrate(self.lake)
        refresh_views(self.lake)
        settings = {field: settle_commit(value, self.lake) for field, value in self.declared.settings.items()}
        for bound in {bound for check in self.declared.checks for bound in check.bounds}:
            # What a check looks at belongs to what it checks: an imported student's base model, too.
            settle_commit(self.graph.setting(bound), self.lake)
        return version_tags(self.context.instance, self._spec, self.declared.version), settings

    def _say(self, line: str) -> None:
        self.context.log.info(line)
        Terminal.say(line)

    def _heard(self, line: str) -> None:
        alive()
        self.context.log.info(line)

    def _give_up(self, reason: str) -> None:
        Terminal.say(reason)
        report_own_failure(self.context.instance, self.context.run, reason)

    def _lease_cards(self) -> None:
        require_whole_runs(self.context.instance)
        for line in lease(self.graph.engines.gpus(), f"run {self.context.run.run_id[:8]} of {self.graph.name}"):
            self.context.log.info(f"{self.declared.name} {line}")

    def _results(self, made: Sequence[Record], tags: Mapping[str, str]) -> Iterator[Any]:
        if len(made) == 1:
            version = dg.DataVersion(made[0].data_version)
            yield dg.MaterializeResult(data_version=version, metadata=metadata_of(made[0]))
            return
        # One result stamps all partitions alike; each partition's own event then stands last and counts.
        yield dg.MaterializeResult()
        for record in made:
            yield event_of(self.context.asset_key, record, tags)

    def _another_try(self, error: PassingError) -> Exception:
        left = RETRIES - self.context.retry_number
        if not left:
            return dg.Failure(str(error), allow_retries=False)
        wait = SECONDS_BEFORE_RETRY * 3**self.context.retry_number
        line = f"{error}; tried again in {wait} s, {left} more {'time' if left == 1 else 'times'} at most"
        self.context.log.warning(line)
        Terminal.say(line)
        return dg.RetryRequested(RETRIES, wait)

    def _check_events(self, made: Sequence[Record]) -> Iterator[Any]:
        for spec in self.context.assets_def.check_specs:
            # Dagster asks for an output of every check, of which results of its own kind alone tell it.
            yield dg.Output(None, output_name=spec.get_python_identifier())
        for record in made:
            yield from check_events(self.context.instance, self.context.asset_key, record)

    def _tell(self, record: Record) -> None:
        """Tell Dagster of checks that were decided anew, of a partition that this run only reads."""
        key = dg.AssetKey([record.place.experiment, record.place.table])
        for event in check_events(self.context.instance, key, record):
            report_check(self.context.instance, self.context.run.run_id, event)

    @property
    def _spec(self) -> dg.AssetSpec:
        spec: dg.AssetSpec = self.context.assets_def.specs_by_key[self.context.asset_key]
        return spec

    def _partitions(self) -> Sequence[str | None]:
        # A run that asks for partitions has them for every asset in it, also for those that have none.
        return self.context.partition_keys if self.context.assets_def.partitions_def else [None]

    def _step(self, partition: str | None, settings: Settings, earlier: Record | None) -> Step:
        code = self.declared.code_version
        return Step(
            self.graph.name,
            self.declared.name,
            partition,
            settings_digest(code, settings),
            self.lake,
            self._heard,
            named=self.graph.config.base_model,
            prepared=self.graph.prepared if self.declared.reads_prepared else None,
            elsewhere=self.graph.elsewhere,
            made_but_for_seeds=settings_digest(code, but_for_seeds(settings)),
            earlier=earlier,
        )

    def _made_since(self, partition: str | None, asked: datetime) -> Record | None:
        """The record of a partition that was made while this run waited, or by an earlier attempt, and still holds."""
        place = self.graph.place(self.declared.name, partition)
        record = self.lake.record(place)
        if record is None or record.finished <= asked:
            return None
        # Of a time to come, it was made before the clock was set back, and nobody knows when.
        if record.finished > datetime.now(UTC) + CLOCKS_APART and asked != EVER:
            return None
        return None if self.graph.staleness(self.lake).own_reason(place) else record

    def _make(self, make: Make, partition: str | None, settings: Settings) -> Record:
        place = self.graph.place(self.declared.name, partition)
        before = self.lake.record(place)
        if self.declared.repository:
            source = self.declared.repository(keys_of(partition)[0])
            pin(self.lake, source.name, source.resolve)
        # Before anything is read: what changes meanwhile makes the partition stale.
        inputs = self.graph.inputs(place, self.lake, self.lake.record)
        alike = before and made_alike(before, self.declared.code_version, settings, inputs)
        told = self.declared.told_for(partition)
        step = self._step(partition, {**settings, **told}, before if alike else None)
        self.lake.reads.clear()
        self.lake.writes.clear()
        # A partition that no model is asked for, as neutral's may be, depends on it like the others.
        _ = step.base_model
        started, start = datetime.now(UTC), time.monotonic()
        with watched(str(place), self._give_up):
            product = self._paid_for(make, step)
        record = Record(
            place,
            product.version,
            self.declared.code_version,
            settings,
            inputs,
            dict(self.lake.reads),
            self.context.run.run_id,
            started,
            datetime.now(UTC),
            round(time.monotonic() - start, 3),
            product.engine,
            rows if isinstance(rows := product.metadata.get("rows"), int) else None,
            libraries(),
            _before(product.version, before),
            checks={},
            students={str(seed): version for seed, version in product.students.items() if seed is not None},
            files=dict(self.lake.writes),
        )
        record = replace(record, behind=behind_parents(self.lake.record, record))
        record = replace(record, metadata=dg.serialize_value(as_stored(shown(product.metadata, record))))
        self.lake.write_record(record, before.replaced if before else None)
        step.work.clear()
        return record

    def _paid_for(self, make: Make, step: Step) -> Product:
        """What ``make`` gives; of an engine that costs money, with what this run alone has spent in its metadata."""
        budget = self.graph.engines.budget() if self.declared.gpu else None
        if budget is None:
            return make(step)
        ledger = Ledger(step.lake, step.experiment, step.asset, step.partition, self.context.run.run_id)
        with budget.account(lambda text: step.log(f"{step.name}: {text}"), ledger) as account:
            product = make(step)
        product.metadata.update(account.metadata)
        return product


def _before(version: str, before: Record | None) -> str | None:
    """The last version that was another: made again with the same content, a folder is not the one before itself."""
    if before is None:
        return None
    return before.replaced if before.data_version == version else before.data_version


def asked_at(instance: dg.DagsterInstance, run: dg.DagsterRun, comes_along: bool = False) -> datetime:
    """When the user, the schedule or the planner asked for what ``run`` makes.

    What has no partitions ``comes_along`` where partitions are asked for: baselines and charts are then made where they
    are missing or stale. A run that goes on with one that failed counts from its first attempt, one of a backfill from
    the backfill's beginning. Who repeats a run that succeeded wants everything again. Of a run that makes what is
    stale, whatever is fresh counts as made since.
    """
    if WHERE_STALE in run.tags or (comes_along and _asks_for_partitions(instance, run)):
        return EVER
    before = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    if before and before.is_success and (own := instance.get_run_record_by_id(run.run_id)):
        return own.create_timestamp
    first = instance.get_run_record_by_id(run.root_run_id or run.run_id)
    asked = [first.create_timestamp] if first else []
    if planned := run.tags.get(PLANNED):
        asked.append(datetime.fromisoformat(planned))
    if (backfill_id := run.tags.get(BACKFILL)) and (backfill := instance.get_backfill(backfill_id)):
        asked.append(datetime.fromtimestamp(backfill.backfill_timestamp, UTC))
    return min(asked, default=datetime.now(UTC))


def _asks_for_partitions(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether partitions are asked for, by ``run`` or by the backfill that it belongs to."""
    by_backfill = BACKFILL in run.tags and has_partitions(instance, run.tags[BACKFILL])
    return by_backfill or any(tag in run.tags for tag in (PARTITION, *ASK_FOR_RANGE))


def run_tags(experiment: str, partitions: Sequence[str | None]) -> dict[str, str]:
    """Tags by which the list of runs says what a run that makes ``partitions`` is about."""
    conditions = list(dict.fromkeys(keys_of(partition)[0] for partition in partitions if partition))
    named = ", ".join(conditions[:CONDITIONS_NAMED])
    if more := len(conditions[CONDITIONS_NAMED:]):
        named += f" and {more} more"
    return {EXPERIMENT: experiment} | ({CONDITIONS: named} if named else {})


def event_of(key: dg.AssetKey, record: Record, tags: Mapping[str, str]) -> dg.AssetMaterialization:
    """What Dagster is told of ``record``; ``tags`` are `version_tags`."""
    return materialisation_event(key, record.place.partition, record.data_version, metadata_of(record), tags)


def check_events(instance: dg.DagsterInstance, key: dg.AssetKey, record: Record) -> Iterator[dg.AssetCheckEvaluation]:
    """What Dagster is told of the checks of ``record``, once it knows of the partition itself."""
    for name, outcome in (record.checks or {}).items():
        yield check_event(
            instance,
            key,
            record.place.partition,
            check_name=name,
            passed=outcome.problem is None,
            description=outcome.problem,
            severity=dg.AssetCheckSeverity.ERROR if outcome.blocking else dg.AssetCheckSeverity.WARN,
            metadata={name: rounded(value) for name, value in outcome.figures.items()}
            | {name: value for name, value in (outcome.basis or {}).items() if value},
            # For Dagster a check that blocks ends the run for all partitions; here what reads the partition stops.
            blocking=False,
        )


def metadata_of(record: Record) -> dict[str, Any]:
    """What the UI shows of ``record``."""
    return dg.deserialize_value(record.metadata, dict) if record.metadata else {}


def shown(metadata: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """``metadata`` and what ``record`` adds to it, with Dagster's kinds of values."""
    commit = {"base_model_commit": record.model_commit} if record.model_commit else {}
    values = {"seconds": round(record.seconds, 2), **metadata, **commit}
    return {name: _dagster_value(value) for name, value in values.items()}


def _dagster_value(value: Any) -> Any:
    match value:
        case Markdown(text):
            return dg.MetadataValue.md(text)
        case Link(url):
            return dg.MetadataValue.url(url)
        case FilePath(path):
            return dg.MetadataValue.path(path)
    return rounded(value)


FAILED = "failed_partitions"


def failure(failed: Mapping[str | None, str]) -> dg.Failure:
    """The failure of a step some of whose partitions could not be made."""
    lines = list(failed.values())
    text = lines[0] if len(lines) == 1 else f"{len(lines)} partitions failed: " + "; ".join(lines)
    return dg.Failure(text, metadata={FAILED: {str(key): line for key, line in failed.items()}}, allow_retries=False)


@cache
def libraries() -> dict[str, str]:
    """Versions of `LIBRARIES`, of those that are installed."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
