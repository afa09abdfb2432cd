"""Materialise what is missing or stale of one experiment, asset by asset, as Dagster runs in this process.

One ``dagster`` call cannot do this: it takes one stretch of partitions and cannot tell what is stale. Keeping all runs
in one process keeps the base model loaded from the first to the last.
"""

import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import dagster as dg

from sl_assets.engines.cards import lease, release
from sl_assets.errors import PassingError, SlAssetsError
from sl_assets.lake.places import Place
from sl_assets.orchestration.checks import decide
from sl_assets.orchestration.dagster_internals import NEVER_RETRIED
from sl_assets.orchestration.jobs import range_tags
from sl_assets.orchestration.outlook import COLUMN, check_lines, left_out_lines, waiting_for
from sl_assets.orchestration.partition import Terminal
from sl_assets.orchestration.planner import Planned, Planner, listed
from sl_assets.orchestration.recording import FAILED, PLANNED, run_tags
from sl_assets.orchestration.run_processes import process_tags
from sl_assets.orchestration.telling import Teller

COMMAND, STAGE = "sl_assets/command", "stage"
"""Run tags: the command, which all its runs share, and the stage of the asset that the run makes."""

# The runs' events are in the UI; on a terminal the lines of `materialise` say enough.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Runner:
    """Runs what a planner finds due, and records it in the Dagster instance.

    Args:
        planner: what is wanted.
        definitions: the experiment's, with everything they need to run.
    """

    def __init__(self, planner: Planner, definitions: dg.Definitions) -> None:
        self._planner = planner
        # The list of runs shows the first words of a tag.
        self._command = f"{datetime.now():%b %d, %H:%M:%S} {uuid.uuid4().hex[:4]}"
        self._instance = dg.DagsterInstance.get()
        self._job = definitions.resolve_implicit_global_asset_job_def()
        self._teller = Teller(self._instance, definitions)
        # Where standard error is no file, as in a notebook, there is nothing to hand over.
        with suppress(OSError):
            Terminal.stream = os.fdopen(os.dup(sys.stderr.fileno()), "w")
            Terminal.bars = sys.stderr.isatty()

    def materialise(self) -> Iterator[str]:
        """Yields a line for every asset.

        Raises:
            SlAssetsError: partitions failed, after everything else was made; or something failed that concerns all.
        """
        failed: dict[Place, str] = {}
        with_models = [asset for asset in self._planner.assets if self._planner.declared(asset).gpu]
        for asset in self._planner.assets:
            yield from self._lease_cards(asset, failed)
            start = time.monotonic()
            planned_at = datetime.now(UTC)
            planned = self._planner.due(asset)
            waiting = waiting_for(self._planner, planned, failed)
            due = [partition for partition in planned.due if partition not in waiting]
            for stretch in self._stretches(asset, due):
                failed |= self._run(asset, stretch, planned_at)
            self._teller.tell(*self._planner.whose(asset), self._planner.lake, self._planner.wanted(asset))
            made = [partition for partition in due if self._planner.place(asset, partition) not in failed]
            yield from _lines(planned, made, waiting, time.monotonic() - start)
            failed |= {self._planner.place(asset, partition): "" for partition in waiting}
            there = [place for place in self._planner.wanted(asset) if place not in failed]
            for place in there:
                # Of a Hub that does not answer: whatever reads the partition asks again.
                with suppress(PassingError):
                    decide(self._planner.graph, self._planner.lake, place, self._teller.tell_checks)
            yield from check_lines(self._planner.lake.record, there, failed)
            if [asset] == with_models[-1:]:
                release()
        if reasons := [reason for reason in failed.values() if reason]:
            lines = "".join(f"\n  {reason}" for reason in reasons)
            raise SlAssetsError(f"{len(reasons)} {'partition' if len(reasons) == 1 else 'partitions'} failed:{lines}")

    def _lease_cards(self, asset: str, failed: Mapping[Place, str]) -> Iterator[str]:
        """Have the GPUs that ``asset`` needs, before it is planned: what others make meanwhile is not made again."""
        graph, name = self._planner.whose(asset)
        if not graph.declared[name].gpu:
            return
        planned = self._planner.due(asset)
        if planned.due.keys() - waiting_for(self._planner, planned, failed).keys():
            for line in lease(graph.engines.gpus(), f"sl-assets run {graph.name}"):
                yield f"{asset:<{COLUMN}} {line}"

    def _stretches(self, asset: str, due: Sequence[str | None]) -> Iterator[list[str | None]]:
        """Stretches of ``due``, last those of which another run is making something: it may be there by then."""
        left = self._planner.stretches(asset, due)
        while len(left) > 1:
            free = (stretch for stretch in left if not any(self._is_held(asset, partition) for partition in stretch))
            chosen = next(free, left[0])
            left.remove(chosen)
            yield chosen
        yield from left

    def _is_held(self, asset: str, partition: str | None) -> bool:
        with self._planner.lake.making(self._planner.place(asset, partition), wait=False) as ours:
            return not ours

    def _run(self, asset: str, stretch: Sequence[str | None], planned_at: datetime) -> dict[Place, str]:
        """Make ``stretch``; returns what is wrong with the partitions that failed.

        Raises:
            SlAssetsError: it failed for a reason that concerns all partitions.
        """
        graph, name = self._planner.whose(asset)
        first, last = stretch[0], stretch[-1]
        run_id = str(uuid.uuid4())
        result = self._job.execute_in_process(
            run_id=run_id,
            instance=self._instance,
            asset_selection=[graph.key(name)],
            partition_key=first if len(stretch) == 1 else None,
            tags={
                **run_tags(graph.name, stretch),
                COMMAND: self._command,
                STAGE: graph.declared[name].stage,
                PLANNED: planned_at.isoformat(),
                **process_tags(self._instance, run_id),
                # Whoever types the command again goes on; the daemon is not to do so behind their back.
                **NEVER_RETRIED,
                **(range_tags(str(first), str(last)) if len(stretch) > 1 else {}),
            },
            run_config=QUIET,
            raise_on_error=False,
        )
        if result.success:
            return {}
        if any(_interrupted(event) for event in result.all_events):
            raise KeyboardInterrupt
        failed = next((data.metadata[FAILED].value for data in _failures(result) if FAILED in data.metadata), None)
        if not isinstance(failed, dict):
            raise SlAssetsError(f"{graph.name}/{name}: {_reason(result)}")
        by_name = {str(partition): partition for partition in stretch}
        return {self._planner.place(asset, by_name[name]): str(reason) for name, reason in failed.items()}


def _lines(
    planned: Planned, made: Sequence[str | None], waiting: dict[str | None, Place], seconds: float
) -> Iterator[str]:
    name = f"{planned.asset:<{COLUMN}}"
    if made:
        yield f"{name} {seconds:6.1f} s  {listed(made)}"
    elif not planned.due and not planned.stale:
        yield f"{name} fresh"
    yield from left_out_lines(planned, waiting)


def _interrupted(event: dg.DagsterEvent) -> bool:
    # Before its step was begun.
    if event.event_type is dg.DagsterEventType.RUN_CANCELED:
        return True
    error = event.step_failure_data.error if event.is_step_failure else None
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[dg.Failure]:
    for event in result.all_events:
        if event.is_step_failure and (data := event.step_failure_data.user_failure_data):
            yield dg.Failure(data.description, data.metadata)


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
