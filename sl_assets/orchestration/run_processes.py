"""Which process a run lives in, so that a run that was killed is recorded as failed, and others need not wait for it.

Every process that runs something locks a file of its own in Dagster's home, and its runs name that file. The system
takes the lock from a process that dies; so whoever sees the same home can tell, whatever the machine is called by then.
"""

import os
import time
import uuid
from functools import cache
from pathlib import Path

import dagster as dg
from filelock import FileLock

from sl_assets.locks import is_locked
from sl_assets.orchestration.dagster_internals import free_pools, job_has_failed

# Dagster's UI hides tags that begin so.
PROCESS_TAG = ".dagster/sl_assets/process"

SECONDS_A_FILE_IS_KEPT = 86_400


def process_tags(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """Tags that say that a run lives in this process."""
    return {PROCESS_TAG: f"{run_id} {_locked(_folder(instance), os.getpid()).name}"}


def note_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Tag the run with this process, whatever launched it."""
    instance.add_run_tags(run_id, process_tags(instance, run_id))


def end_killed_runs(instance: dg.DagsterInstance) -> None:
    """Record runs of this home whose process is gone as failed; that makes room for those that are queued.

    Dagster's own monitoring cannot see that a local process was killed.
    """
    folder = _folder(instance)
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        run_id, _, name = run.tags.get(PROCESS_TAG, "").partition(" ")
        # A re-execution inherits its parent's tags until it notes its own; a file elsewhere is another machine's.
        if run_id == run.run_id and (folder / name).is_file() and not is_locked(folder / name):
            instance.report_run_failed(run, "Its process was killed.")
            free_pools(instance, run.run_id)
    for file in folder.glob("*.lock"):
        if time.time() - file.stat().st_mtime > SECONDS_A_FILE_IS_KEPT and not is_locked(file):
            file.unlink(missing_ok=True)


def end_unbegun_runs(instance: dg.DagsterInstance) -> None:
    """Record runs as failed whose job on a cluster has failed before they began, as where a node lacks a package.

    Dagster's own monitoring asks after those that have begun, and of the others waits for a time-out.
    """
    launcher = instance.run_launcher
    if not launcher.supports_check_run_worker_health:
        return
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
        health = launcher.check_run_worker_health(run)
        now = instance.get_run_by_id(run.run_id)
        if job_has_failed(health) and now and now.status is dg.DagsterRunStatus.STARTING:
            instance.report_run_failed(run, f"Its job ended before it began: {health.msg}")


def _folder(instance: dg.DagsterInstance) -> Path:
    # Hidden, and not named like the package: Dagster's processes import from the home before they do from elsewhere.
    return Path(instance.root_directory) / ".processes"


@cache
def _locked(folder: Path, process: int) -> Path:
    """A file that is locked as long as this process lives; a fork has another."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.lock"
    lock = FileLock(path, thread_local=False)
    lock.acquire()
    _kept.append(lock)
    return path


_kept: list[FileLock] = []
"""Locks until this process ends: one that nobody refers to would be released."""
