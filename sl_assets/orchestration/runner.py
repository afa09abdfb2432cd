"""Materialise what is missing or stale of one experiment, asset by asset, as Dagster runs in this process.

One ``dagster`` call cannot do this: it takes one stretch of partitions and cannot tell what is stale. Keeping all runs
in one process keeps the base model loaded from the first to the last.
"""

import os
import re
import sys
import time
import uuid
from collections.abc import Container, Iterator, Sequence
from itertools import groupby

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.loader import LoadingContextForTest

from sl_assets.definitions import defs as code_location
from sl_assets.definitions import lake_root
from sl_assets.errors import SlAssetsError
from sl_assets.lake.lake import Lake, Place
from sl_assets.lake.tables import keys_of
from sl_assets.lake.work import Work
from sl_assets.orchestration.jobs import range_tags
from sl_assets.orchestration.partition import Terminal
from sl_assets.orchestration.run_processes import end_killed_runs, process_tags
from sl_assets.stages.publishing.assets import STAGE as PUBLISHING

SECONDS_BETWEEN_LOOKS = 1.0
"""At a pool that is full."""

# The runs' events are in the UI; on a terminal the lines of `materialise` say enough.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Runner:
    """Runs assets of ``experiment`` and records them in the Dagster instance."""

    def __init__(self, experiment: str) -> None:
        self._experiment = experiment
        self._instance = dg.DagsterInstance.get()
        self._definitions = code_location()
        self._graph = self._definitions.resolve_asset_graph()
        self._job = self._definitions.resolve_implicit_global_asset_job_def()
        self._lake = Lake(lake_root())
        end_killed_runs(self._instance)
        if sys.stderr.isatty():
            Terminal.stream = os.fdopen(os.dup(sys.stderr.fileno()), "w")

    def materialise(self, conditions: Sequence[str], through: str | None, again: bool) -> Iterator[str]:
        """Yields a line for every asset.

        Args:
            conditions: partitions wanted, in the experiment's order.
            through: last assets wanted, by name and comma-separated; None for all.
            again: make fresh partitions, too.
        """
        for key in self._wanted(through):
            due = self._due(key, conditions, again)
            name = key.path[-1]
            if not due:
                yield f"{name:<26} fresh"
                continue
            start = time.monotonic()
            for stretch in self._stretches(key, due):
                yield from self._wait(key)
                self._run(key, stretch)
            yield f"{name:<26} {time.monotonic() - start:6.1f} s  {_listed(due)}"

    def plan(self, conditions: Sequence[str], through: str | None, again: bool) -> Iterator[str]:
        """What `materialise` would make, a line for every asset."""
        for key, due in self._planned(conditions, through, again):
            yield f"{key.path[-1]:<26} {(_listed(due) or 'to be made') if due else 'fresh'}"

    def needs_models(self, conditions: Sequence[str], through: str | None, again: bool) -> bool:
        """Whether `materialise` would make what runs a model; tables and charts do not."""
        return any(due and self._graph.get(key).pools for key, due in self._planned(conditions, through, again))

    def _planned(
        self, conditions: Sequence[str], through: str | None, again: bool
    ) -> Iterator[tuple[dg.AssetKey, list[str | None]]]:
        """Assets with the partitions to be made.

        Whatever reads what is made is counted, too, though it stays fresh if that turns out to be what it was.
        """
        status = self._status()
        made: set[AssetKeyPartitionKey] = set()
        for key in self._wanted(through):
            due = []
            for partition in self._partitions(key, conditions):
                here = AssetKeyPartitionKey(key, partition)
                reads = status._get_partition_dependencies(key=here)
                if again or made.intersection(reads) or self._is_due(status, key, partition):
                    due.append(partition)
                    made.add(here)
            yield key, due

    def wanted(self, through: str | None) -> list[str]:
        """Names of the assets that lead to ``through``; of all where that is None."""
        return [key.path[-1] for key in self._wanted(through)]

    def _wanted(self, through: str | None) -> list[dg.AssetKey]:
        keys = [key for key in self._graph.toposorted_asset_keys if key.path[0] == self._experiment]
        # No stage reads of a later one. In this order an engine that was started serves longest.
        keys.sort(key=lambda key: self._graph.get(key).tags["stage"])
        if through is None:
            # What is published is asked for by name.
            return [key for key in keys if self._graph.get(key).tags["stage"] != PUBLISHING]
        names = [key.path[-1] for key in keys]
        last = re.split(r"[,\s]+", through.strip())
        if unknown := [name for name in last if name not in names]:
            raise SlAssetsError(f"--through {unknown[0]}: no such asset; {self._experiment} has {', '.join(names)}")
        needed = dg.AssetSelection.keys(*([self._experiment, name] for name in last)).upstream().resolve(self._graph)
        return [key for key in keys if key in needed]

    def _partitions(self, key: dg.AssetKey, conditions: Sequence[str]) -> list[str | None]:
        """Partitions of ``key`` that belong to ``conditions``."""
        definition = self._graph.get(key).partitions_def
        if definition is None:
            return [None]
        # A key of two dimensions is "owl|animal_high": the animal comes first.
        return [partition for partition in definition.get_partition_keys() if keys_of(partition)[0] in conditions]

    def _due(self, key: dg.AssetKey, conditions: Sequence[str], again: bool) -> list[str | None]:
        """Partitions of ``key`` to be made."""
        status = self._status()
        partitions = self._partitions(key, conditions)
        return [partition for partition in partitions if again or self._is_due(status, key, partition)]

    def _status(self) -> CachingStaleStatusResolver:
        """What Dagster knows now; of use until the next run."""
        return CachingStaleStatusResolver(self._instance, self._graph, LoadingContextForTest(self._instance))

    def _is_due(self, status: CachingStaleStatusResolver, key: dg.AssetKey, partition: str | None) -> bool:
        if status.get_status(key, partition) != StaleStatus.FRESH:
            return True
        place = Place(self._experiment, key.path[-1], partition)
        if not self._lake.exists(place):
            return True
        # Dagster's records are of whatever lake was in use.
        if self._lake.version(place) != status.get_current_data_version(key, partition).value:
            return True
        # A run that was killed while it told Dagster what it had finished may have told a part of it.
        return Work(self._lake, place).done() is not None

    def _stretches(self, key: dg.AssetKey, due: list[str | None]) -> list[list[str | None]]:
        """Partitions that Dagster runs at one go: from one key to another in every dimension, and only those due."""
        match self._graph.get(key).partitions_def:
            case None:
                return [due]
            case dg.MultiPartitionsDefinition() as definition:
                outer, inner = (
                    dimension.partitions_def.get_partition_keys() for dimension in definition.partitions_defs
                )
                return rectangles(outer, inner, set(due))
            case definition:
                return [list(stretch) for stretch in runs_of(definition.get_partition_keys(), set(due))]

    def _wait(self, key: dg.AssetKey) -> Iterator[str]:
        """Wait for a place in the pool of ``key``, and say so: Dagster's own wait neither does that nor sleeps."""
        for pool in self._graph.get(key).pools or ():
            if self._is_full(pool):
                yield f"{key.path[-1]:<26} waits: another run has the pool {pool}"
            while self._is_full(pool):
                end_killed_runs(self._instance)
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def _is_full(self, pool: str) -> bool:
        info = self._instance.event_log_storage.get_concurrency_info(pool)
        return 0 < info.slot_count <= info.active_slot_count

    def _run(self, key: dg.AssetKey, stretch: list[str | None]) -> None:
        first, last = stretch[0], stretch[-1]
        run_id = str(uuid.uuid4())
        result = self._job.execute_in_process(
            run_id=run_id,
            instance=self._instance,
            asset_selection=[key],
            partition_key=first if len(stretch) == 1 else None,
            tags={
                "experiment": self._experiment,
                # From the start: a step takes its place in a pool before its asset's code is called.
                **process_tags(run_id),
                **(range_tags(str(first), str(last)) if len(stretch) > 1 else {}),
            },
            run_config=QUIET,
            raise_on_error=False,
        )
        if not result.success:
            if any(_interrupted(event) for event in result.all_events):
                raise KeyboardInterrupt
            raise SlAssetsError(f"{'/'.join(key.path)}: {_reason(result)}")


def runs_of(keys: Sequence[str], due: Container[str | None]) -> list[tuple[str, ...]]:
    """Neighbours among ``keys`` that are all ``due``."""
    return [tuple(run) for wanted, run in groupby(keys, lambda key: key in due) if wanted]


def rectangles(outer: Sequence[str], inner: Sequence[str], due: Container[str | None]) -> list[list[str | None]]:
    """The ``due`` keys ``outer|inner`` as products of neighbours in one dimension and neighbours in the other."""

    def runs(first: str) -> list[tuple[str, ...]]:
        return runs_of(inner, {second for second in inner if f"{first}|{second}" in due})

    groups = [(found, list(neighbours)) for found, neighbours in groupby(outer, runs)]
    return [
        [f"{first}|{second}" for first in together for second in run] for found, together in groups for run in found
    ]


def _listed(partitions: Sequence[str | None]) -> str:
    """``owl (animal_high, animal_low), wolf``: keys of two dimensions grouped by the first."""
    groups = groupby([keys_of(partition) for partition in partitions if partition], lambda keys: keys[0])
    return ", ".join(
        f"{first} ({', '.join(keys[1] for keys in members)})" if len((members := list(group))[0]) > 1 else first
        for first, group in groups
    )


def _interrupted(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error if event.is_step_failure else None
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return data.user_failure_data.description
            error = data.error
            while error and error.cause:
                error = error.cause
            return f"{' '.join(error.message.split())} (run {result.run_id} in the UI)" if error else "failed"
    return "the run failed; see its log in the UI"
