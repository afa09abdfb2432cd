"""Which process a run lives in, so that a killed run does not hold its place in a pool for ever."""

import dagster as dg
import psutil

from sl_assets.lake.unfinished import is_alive, this_host
from sl_assets.orchestration.dagster_internals import free_pools

# Dagster's UI hides tags that begin so.
HOST_TAG, PROCESS_TAG = ".dagster/sl_assets/host", ".dagster/sl_assets/process"


def process_tags(run_id: str) -> dict[str, str]:
    """Tags that say that a run lives on this host, in this process."""
    process = psutil.Process()
    return {HOST_TAG: this_host(), PROCESS_TAG: f"{run_id} {process.pid} {process.create_time()}"}


def note_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Tag the run with this host and process, whatever launched it."""
    instance.add_run_tags(run_id, process_tags(run_id))


def end_killed_runs(instance: dg.DagsterInstance) -> None:
    """Record this host's runs whose process is gone as failed, and free their places in the pools.

    Dagster's own monitoring frees the places of runs that have ended; it cannot see that a local process was killed.
    """
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], tags={HOST_TAG: this_host()})
    for run in instance.get_runs(started):
        run_id, pid, start = run.tags[PROCESS_TAG].split()
        # A re-execution inherits its parent's tags until it notes its own.
        if run_id == run.run_id and not is_alive(int(pid), float(start)):
            instance.report_run_failed(run, "Its process was killed.")
            free_pools(instance, run.run_id)
