"""A helper process: a real one, killed for real."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from sl_assets.engines.helper_process import HelperProcess, tell
from sl_assets.errors import SlAssetsError

_kept: list[int] = []


def counted(steps: int) -> int:
    for step in range(steps):
        tell(step, steps, 0.5)
    _kept.append(steps)
    return sum(_kept)


def told_and_asleep(seconds: float) -> None:
    tell(1)
    time.sleep(seconds)


def refused() -> None:
    raise SlAssetsError("no room")


class TwoWordsError(Exception):
    """One that can be pickled and not unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def refused_in_its_own_way() -> None:
    raise TwoWordsError("no", "room")


def interrupted() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "went on"


def with_a_child() -> int:
    return subprocess.Popen(["sleep", "60"]).pid


@pytest.fixture
def helper() -> Iterator[HelperProcess]:
    helper = HelperProcess("the helper")
    yield helper
    helper.end()


def test_every_report_arrives_in_order_and_what_a_task_leaves_is_there_for_the_next(helper: HelperProcess) -> None:
    reports: list[tuple[float, ...]] = []
    assert helper.run(partial(counted, 300), lambda *told: reports.append(told)) == 300
    assert reports == [(step, 300, 0.5) for step in range(300)]
    assert helper.run(partial(counted, 2)) == 302
    assert _kept == []


def test_its_errors_are_raised_here(helper: HelperProcess) -> None:
    with pytest.raises(SlAssetsError, match="no room"):
        helper.run(refused)
    assert helper.run(partial(counted, 1)) == 1


def test_an_error_that_cannot_travel_sends_its_words(helper: HelperProcess) -> None:
    with pytest.raises(RuntimeError, match="TwoWordsError: no room") as raised:
        helper.run(refused_in_its_own_way)
    assert "refused_in_its_own_way" in raised.value.__notes__[0]


def test_an_exit_of_a_task_is_not_ours(helper: HelperProcess) -> None:
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        helper.run(partial(sys.exit, 3))


def test_after_an_error_that_it_did_not_expect_it_is_ended(helper: HelperProcess) -> None:
    pid = helper.run(os.getpid)
    with pytest.raises(ZeroDivisionError):
        helper.run(partial(divmod, 1, 0))
    assert helper.ended
    assert not psutil.pid_exists(pid)


def test_an_interrupt_is_left_to_its_parent(helper: HelperProcess) -> None:
    assert helper.run(interrupted) == "went on"


def test_its_own_processes_end_with_it() -> None:
    helper = HelperProcess("the helper")
    child = psutil.Process(helper.run(with_a_child))
    helper.end()
    assert not child.is_running()


def test_a_helper_that_dies_is_noticed(helper: HelperProcess) -> None:
    pid = helper.run(os.getpid)
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SlAssetsError, match="the helper's process died; the run's log"):
        helper.run(os.getpid)
    assert helper.ended


def test_it_can_be_ended_in_the_middle_of_a_task() -> None:
    helper = HelperProcess("the helper")

    def stop(*_: float) -> None:
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        helper.run(partial(told_and_asleep, 60.0), stop)
    assert helper.ended
    assert time.monotonic() - start < 20


def test_a_killed_run_leaves_no_helper_behind(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import os, time\n"
        "from sl_assets.engines.helper_process import HelperProcess\n"
        "if __name__ == '__main__':\n"
        "    print(HelperProcess('it').run(os.getpid), flush=True)\n"
        "    time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert run.stdout
    helper = psutil.Process(int(run.stdout.readline()))
    run.kill()
    run.wait()
    helper.wait(timeout=10)


_left: list[HelperProcess] = []


def leave_a_helper(line: Connection) -> None:
    _left.append(HelperProcess("the helper"))
    line.send(_left[0].run(os.getpid))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_run_that_leaves_its_helper_to_itself_ends(method: str) -> None:
    """As Dagster's server starts runs: multiprocessing waits for their children before anything else is told."""
    context = multiprocessing.get_context(method)
    ours, theirs = multiprocessing.Pipe()
    run = context.Process(target=leave_a_helper, args=(theirs,))  # type: ignore[attr-defined]
    run.start()
    assert ours.poll(30)
    helper = ours.recv()
    run.join(timeout=30)
    assert run.exitcode == 0
    assert not psutil.pid_exists(helper)


def test_a_program_that_leaves_its_helper_to_itself_ends(tmp_path: Path) -> None:
    """Where something has asked to be told of the end before multiprocessing has."""
    script = tmp_path / "run.py"
    script.write_text(
        "import tempfile\n"
        "folder = tempfile.TemporaryDirectory()\n"
        "import os\n"
        "from sl_assets.engines.helper_process import HelperProcess\n"
        "if __name__ == '__main__':\n"
        "    helper = HelperProcess('it')\n"
        "    print(helper.run(os.getpid), flush=True)\n"
    )
    run = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert not psutil.pid_exists(int(run.stdout))
