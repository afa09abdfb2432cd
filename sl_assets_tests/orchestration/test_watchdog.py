"""What hangs is ended and says so: real processes that sleep, and a lock that nothing gives back."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import Any

import dagster as dg
import psutil
import pytest

from sl_assets.engines.helper_process import HelperProcess
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.errors import SlAssetsError
from sl_assets.liveness import alive
from sl_assets.orchestration.watchdog import MINUTES, StalledError, watched
from sl_assets_tests.conftest import Bench
from sl_assets_tests.engines.test_helper_process import told_and_asleep

ONE_SECOND = "0.0167"


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
