"""Runs whose process was killed: real processes, which note their runs in a real instance."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from sl_assets.cli.environment import set_up_home
from sl_assets.config import PROJECT
from sl_assets.definitions import fail_killed_runs
from sl_assets.orchestration.dagster_internals import NEVER_RETRIED, set_pool_limit
from sl_assets.orchestration.gpu_pool import GPU_POOL
from sl_assets.orchestration.run_processes import PROCESS_TAG, end_killed_runs, note_process
from sl_assets_tests.conftest import Bench

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE

SCRIPT = """
import sys, time
import dagster as dg
from sl_assets.orchestration.run_processes import note_process
with dg.DagsterInstance.get() as instance:
    note_process(instance, sys.argv[1])
    print("noted", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The project's settings in a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


@contextmanager
def running(instance: dg.DagsterInstance) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A run and the process that it lives in."""
    run = dg.DagsterRun("job", status=STARTED)
    instance.add_run(run)
    with subprocess.Popen([sys.executable, "-c", SCRIPT, run.run_id], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "noted\n"
        try:
            yield run.run_id, process
        finally:
            process.kill()


def states(instance: dg.DagsterInstance) -> dict[str, dg.DagsterRunStatus]:
    return {run.run_id: run.status for run in instance.get_runs()}


def test_a_run_whose_process_was_killed_failed_and_another_goes_on(instance: dg.DagsterInstance) -> None:
    with running(instance) as (killed, process), running(instance) as (alive, _):
        ours = dg.DagsterRun("job", status=STARTED)
        instance.add_run(ours)
        note_process(instance, ours.run_id)
        process.send_signal(signal.SIGKILL)
        # Until its parent asks, it keeps its number; in containers there may be nobody to ask.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        end_killed_runs(instance)
        assert states(instance) == {killed: FAILURE, alive: STARTED, ours.run_id: STARTED}


def will_be_retried(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """What Dagster has noted of a run that ended, for its daemon to go by."""
    run = instance.get_run_by_id(run_id)
    assert run
    return run.tags.get("dagster/will_retry")


@pytest.mark.parametrize(("tags", "retried"), [({}, "true"), (NEVER_RETRIED, "false")], ids=["any", "of a command"])
def test_a_run_whose_process_was_killed_is_started_again_unless_a_command_ran_it(
    instance: dg.DagsterInstance, tags: dict[str, str], retried: str
) -> None:
    with running(instance) as (killed, process):
        instance.add_run_tags(killed, tags)
        process.kill()
        process.wait()
    end_killed_runs(instance)
    assert will_be_retried(instance, killed) == retried


def test_a_mistake_is_not_made_again(instance: dg.DagsterInstance, bench: Bench) -> None:
    bench.instance = instance
    run = bench.run("evaluation", first="owl")
    assert "materialise it first" in str(run.get_step_failure_events()[0].step_failure_data)
    assert will_be_retried(instance, run.run_id) == "false"


def test_it_is_seen_when_the_machine_has_another_name_since(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(instance) as (killed, process):
        process.kill()
        process.wait()
    monkeypatch.setattr(socket, "gethostname", lambda: "restarted-container")
    end_killed_runs(instance)
    assert states(instance) == {killed: FAILURE}


def test_runs_of_other_homes_and_inherited_tags_are_left_alone(instance: dg.DagsterInstance) -> None:
    with running(instance) as (killed, process):
        process.kill()
        process.wait()
    tag = instance.get_run_by_id(killed).tags[PROCESS_TAG]  # type: ignore[union-attr]
    again = dg.DagsterRun("job", status=STARTED, tags={PROCESS_TAG: tag})
    elsewhere = dg.DagsterRun("job", status=STARTED)
    elsewhere = elsewhere.with_tags({PROCESS_TAG: f"{elsewhere.run_id} none-of-this-home.lock"})
    for run in (again, elsewhere, untold := dg.DagsterRun("job", status=STARTED)):
        instance.add_run(run)
    end_killed_runs(instance)
    assert states(instance) == {
        killed: FAILURE, again.run_id: STARTED, elsewhere.run_id: STARTED, untold.run_id: STARTED,
    }  # fmt: skip


def test_files_of_processes_long_gone_are_removed(instance: dg.DagsterInstance) -> None:
    note_process(instance, _added(instance))
    folder = Path(instance.root_directory) / ".processes"
    (ours,) = folder.iterdir()
    (old, new) = folder / "old.lock", folder / "new.lock"
    for file in (old, new):
        file.touch()
    for file in (old, ours):
        os.utime(file, (time.time() - 2 * 86_400,) * 2)
    end_killed_runs(instance)
    assert sorted(folder.iterdir()) == sorted([ours, new])


def _added(instance: dg.DagsterInstance) -> str:
    run = dg.DagsterRun("job", status=STARTED)
    instance.add_run(run)
    return run.run_id


def test_a_command_frees_what_a_killed_run_holds(instance: dg.DagsterInstance) -> None:
    with running(instance) as (killed, process):
        process.kill()
        process.wait()
    set_up_home()
    assert states(instance) == {killed: FAILURE}


def test_nothing_in_the_home_is_taken_for_the_package(instance: dg.DagsterInstance) -> None:
    """Dagster's processes run there, and import from it before they do from elsewhere."""
    note_process(instance, _added(instance))
    command = [sys.executable, "-m", "sl_assets", "--version"]
    home = instance.root_directory
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("sl_assets"), done.stderr
    assert not (Path(home) / "sl_assets").exists()


def test_while_the_ui_runs_a_sensor_looks(instance: dg.DagsterInstance) -> None:
    with running(instance) as (killed, process):
        process.kill()
        process.wait()
    assert fail_killed_runs.default_status is dg.DefaultSensorStatus.RUNNING
    assert not fail_killed_runs.evaluate_tick(dg.build_sensor_context(instance)).run_requests
    assert states(instance) == {killed: FAILURE}


def test_a_step_holds_no_place_of_its_own_that_could_outlive_its_run(bench: Bench, tmp_path: Path) -> None:
    """A run that was killed twice, the second time just before it gave back what it held, once blocked all others."""
    home = tmp_path / "another"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        set_pool_limit(instance, GPU_POOL, 1)
        bench.instance = instance
        assert bench.run("number_prompts").success
        assert bench.run("baseline_evaluation").success
        held = instance.event_log_storage.get_concurrency_info(GPU_POOL)
        assert held.slot_count == 1
        claims = [
            entry
            for run in instance.get_runs()
            for entry in instance.all_logs(run.run_id)
            if "concurrency" in entry.message.lower() or "pool" in entry.message.lower()
        ]
        assert (held.active_slot_count, held.pending_step_count, claims) == (0, 0, [])
