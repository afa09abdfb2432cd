"""A backfill whose run is killed, and then everything: UI, daemon, code server and run."""

import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psutil
import pytest

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.verifying import verified
from sl_assets.orchestration.run_processes import PROCESS_TAG
from sl_assets_tests.dagster_ui import ended, launch_backfill, running_ui, wait_until

pytestmark = pytest.mark.skipif(
    not os.environ.get("SL_TEST_DAEMONS"), reason="SL_TEST_DAEMONS is unset: daemons take minutes"
)

ASSETS = ("teacher_checkpoint", "raw_dataset", "filtered_dataset", "lora_checkpoint")
CONDITIONS = ("neutral", "owl", "wolf")


def family() -> list[psutil.Process]:
    """All processes that this one has begun, and those that they have."""
    return psutil.Process().children(recursive=True)


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL, as the system does when memory runs out."""
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=20)


def process_of(home: str, run: dg.DagsterRun) -> list[psutil.Process]:
    """The process that ``run`` lives in: it has locked the file that the run names."""
    lock = str(Path(home) / ".processes" / run.tags[PROCESS_TAG].split()[1])
    return [process for process in family() if lock in {file.path for file in process.open_files()}]


def test_a_backfill_survives_the_death_of_its_run_and_of_everything_else(
    environment: dict[str, str], experiment_folder: Callable[..., Path], finished_once: Path
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    home, lake = environment["DAGSTER_HOME"], Lake(environment["SL_DATA_LAKE"])
    undisturbed = Lake(str(finished_once / "lake"))

    def runs() -> list[dg.DagsterRun]:
        with dg.DagsterInstance.from_config(home) as instance:
            return list(instance.get_runs())

    with running_ui(environment) as port:
        asked_for = [f"tiny/{name}" for name in ("number_prompts", *ASSETS)]
        backfill = launch_backfill(port, asked_for, CONDITIONS)
        wait_until(lambda: lake.exists(Place("tiny", "teacher_checkpoint", "owl")), seconds=240)
        (first,) = [run for run in runs() if run.status is dg.DagsterRunStatus.STARTED]
        kill(process_of(home, first))
        wait_until(lambda: lake.exists(Place("tiny", "lora_checkpoint", "neutral")), seconds=240)
        assert [run.parent_run_id for run in runs() if run.parent_run_id] == [first.run_id]
        kill(family())
    assert not lake.exists(Place("tiny", "lora_checkpoint", "wolf"))

    with running_ui(environment) as port:
        assert ended(port, backfill, seconds=900) == "COMPLETED_SUCCESS"
    for name in ASSETS:
        for condition in CONDITIONS:
            place = Place("tiny", name, condition)
            assert lake.version(place) == undisturbed.version(place)
            assert (found := verified(lake, place))
            assert not found.damage
    failed = {run.run_id for run in runs() if run.status is dg.DagsterRunStatus.FAILURE}
    assert {run.status for run in runs()} == {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}
    assert first.run_id in failed
    assert failed == {run.parent_run_id for run in runs() if run.parent_run_id}, "each was started again, once"
