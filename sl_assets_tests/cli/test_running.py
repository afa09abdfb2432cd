"""``sl-assets run``: what its runs are tagged with, and what is said when it is interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from sl_assets_tests.cli.command import COMMAND, forked, run, run_forked
from sl_assets_tests.conftest import TINY, imported_numbers
from sl_assets_tests.dagster_ui import wait_until


def test_all_runs_of_a_command_share_a_tag(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder(numbers=imported_numbers(tmp_path)))
    for again in ((), ("--again",)):
        done = run_forked(environment, "run", "tiny", "--through", "filtered_dataset", *again)
        assert done.returncode == 0, done.stderr
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        tags = [found.tags["sl_assets/command"] for found in instance.get_runs()]
    last, first = tags[:2], tags[2:]
    assert len(tags) == 4
    assert len(set(last)) == len(set(first)) == 1
    assert set(last) != set(first)


@pytest.fixture
def long_run(environment: dict[str, str], experiment_folder: Callable[..., Path]) -> dict[str, str]:
    """Environment of a run that trains for minutes."""
    environment["SL_EXPERIMENTS"] = str(experiment_folder(teacher=TINY["teacher"] | {"epochs": 5000}))
    return environment


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "interrupted; the same command goes on from here"),
        (["--again"], "interrupted; --again starts over each time, without it what is fresh by now is not made again"),
    ],
)
def test_ctrl_c_says_what_the_same_command_would_do(long_run: dict[str, str], options: list[str], line: str) -> None:
    command = ("run", "tiny", "--animals", "owl", "--through", "number_prompts,teacher_checkpoint", *options)
    with forked(long_run, *command) as (process, stdout, stderr):
        wait_until(lambda: stdout.read_text().startswith("number_prompts"), seconds=60)
        time.sleep(2)
        os.kill(process.pid or 0, signal.SIGINT)
        process.join(60)
        said = stderr.read_text()
    assert said.strip().splitlines()[-1] == f"sl-assets: {line}"
    assert "Traceback" not in said
    assert process.exitcode == 130


FORGOTTEN = """
import sys, time, weakref
from sl_assets import cli

class Thing:
    pass

def interrupted(_):
    raise {error}

def main():
    gone = weakref.ref(thing := Thing(), interrupted)
    del thing
    for _ in range(100):
        time.sleep(0.05)

cli._run_command = main
cli.main()
"""


@pytest.mark.parametrize(
    "error",
    ["KeyboardInterrupt", "__import__('dagster').DagsterExecutionInterruptedError"],
    ids=["Python's", "Dagster's"],
)
def test_ctrl_c_while_python_clears_something_away_is_not_forgotten(environment: dict[str, str], error: str) -> None:
    command = [sys.executable, "-c", FORGOTTEN.format(error=error)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "sl-assets: interrupted\n")


INTERRUPTING = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPTED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.parametrize(
    "module", ["click", "dotenv", "sl_assets.cli.commands", "dagster", "sl_assets.orchestration.outlook"]
)
def test_ctrl_c_while_a_module_is_loaded_is_one_line(environment: dict[str, str], module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run(environment | {"PYTHONPATH": path, "INTERRUPTED_AT": module}, "run", "pocket", "--dry-run")
    assert done.stderr.strip().splitlines()[-1:] == ["sl-assets: interrupted"]
    assert "Traceback" not in done.stderr
    assert done.returncode == 130


def test_a_reader_that_has_seen_enough_is_no_error(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [*COMMAND, "check"], env=environment, stdout=writing, stderr=subprocess.PIPE, text=True
    ) as checking:
        os.close(writing)
        _, said = checking.communicate(timeout=60)
    assert said == ""
