"""What hangs is ended and says so: real processes that sleep, and a lock that nothing gives back."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psutil
import pytest
from upath import UPath

from sl_assets.components import declare
from sl_assets.engines.helper_process import HelperProcess
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.errors import SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.refusals import refusals_explained
from sl_assets.liveness import alive
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.recording import Materialisation
from sl_assets.orchestration.watchdog import MINUTES, StalledError, watched
from sl_assets_tests.conftest import Bench, tiny_config
from sl_assets_tests.engines.test_helper_process import told_and_asleep

ONE_SECOND = "0.0167"

RETRIED = {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}


def never(_: str) -> None:
    raise AssertionError("the error was enough")


@pytest.fixture
def one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MINUTES, ONE_SECOND)


def test_a_helper_that_hangs_is_ended_and_shows_where(one_second: None, capfd: pytest.CaptureFixture[str]) -> None:
    helper, start = HelperProcess("the helper"), time.monotonic()
    pid = helper.run(os.getpid)
    line = "tiny/raw_dataset of owl: no progress for 1 s, so it was ended.*0: wait for ever"
    with pytest.raises(StalledError, match=line) as error, watched("tiny/raw_dataset of owl", never):
        helper.run(partial(told_and_asleep, 60.0))
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < 20
    assert helper.ended
    assert not psutil.pid_exists(pid)
    said = capfd.readouterr().err
    assert "in told_and_asleep" in said, "where the helper hangs"
    assert "in test_a_helper_that_hangs" in said, "and who waits for it"


def test_a_run_that_hangs_fails_and_says_of_what(
    one_second: None, finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: Any, **__: Any) -> None:
        HelperProcess("an engine").run(partial(told_and_asleep, 60.0))

    monkeypatch.setattr(TransformersSampler, "sample", hang)
    start = time.monotonic()
    run = finished.run("raw_dataset", first="owl")
    assert time.monotonic() - start < 20
    assert run.dagster_run.status is dg.DagsterRunStatus.FAILURE
    (failed,) = run.get_step_failure_events()
    assert failed.step_failure_data.user_failure_data
    assert str(failed.step_failure_data.user_failure_data.description).startswith(
        "tiny/raw_dataset of owl: no progress for 1 s"
    )


def test_a_server_that_hangs_is_not_said_to_refuse(one_second: None) -> None:
    reading = refusals_explained(UPath("s3://lab/lake/data.parquet"), "read", local=False)
    with pytest.raises(StalledError, match=r"^it: no progress"), watched("it", never), reading:
        time.sleep(60)


def test_what_comes_further_is_left_alone_however_long_it_takes(one_second: None) -> None:
    with watched("it", never):
        for _ in range(5):
            time.sleep(0.5)
            alive()


@pytest.mark.parametrize("minutes", ["0", ""])
def test_nothing_is_ended_where_that_is_switched_off_or_far_away(minutes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MINUTES, minutes)
    before = signal.getsignal(signal.SIGUSR2)
    with watched("it", never):
        time.sleep(1.2)
    assert signal.getsignal(signal.SIGUSR2) == before


@pytest.mark.parametrize("minutes", ["ten", "-1", "1e3"])
def test_what_is_no_number_is_refused(minutes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MINUTES, minutes)
    with pytest.raises(SlAssetsError, match=f"SL_STALL_MINUTES = '{minutes}': write a number"), watched("it", never):
        pass


DEADLOCKED = """
import ctypes, threading
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.recording import Materialisation
from sl_assets.orchestration.watchdog import watched
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
def hang():
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
def work():
    with watched("tiny/evaluation of owl", lambda reason: print(reason, flush=True), grace=1):
        hang()
"""


@pytest.mark.parametrize("how", ["work()", "threading.Thread(target=work).start()"], ids=["main", "another thread"])
def test_what_no_error_can_reach_ends_with_its_process(how: str) -> None:
    environment = os.environ | {MINUTES: ONE_SECOND}
    command = [sys.executable, "-c", DEADLOCKED + how]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stdout.startswith("tiny/evaluation of owl: no progress for 1 s")
    assert "in hang" in ended.stderr


def test_a_run_that_was_given_up_is_not_started_again(bench: Bench, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    graph = ExperimentGraph("tiny", tiny_config())
    declare(graph)
    job = bench.definitions().resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.local_temp(str(home), overrides=RETRIED) as instance:
        hung, killed = (instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED) for _ in range(2))
        context: Any = SimpleNamespace(instance=instance, run=hung)
        Materialisation(graph, graph.declared["raw_dataset"], context, Lake(str(bench.root)))._give_up("it hangs")
        instance.report_run_failed(killed, "its process was killed")
        ended = [instance.get_run_by_id(run.run_id) for run in (hung, killed)]
    assert [run and run.status for run in ended] == [dg.DagsterRunStatus.FAILURE] * 2
    assert [run and run.tags["dagster/will_retry"] for run in ended] == ["false", "true"]
