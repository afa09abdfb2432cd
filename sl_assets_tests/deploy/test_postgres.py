"""Dagster's home on a real PostgreSQL server, where one is installed."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from sl_assets.config import PROJECT
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets_tests.cli.command import run_forked
from sl_assets_tests.dagster_ui import ask, ended, launch_backfill, running_ui
from sl_assets_tests.postgres_server import needs_postgres, postgres_server

pytest.importorskip("dagster_postgres", reason="dagster-postgres is not installed")

RUNS = "{ runsOrError { ... on Runs { results { status tags { key value } } } } }"


pytestmark = needs_postgres


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server of its own."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def on_postgres(server: str, environment: dict[str, str], experiment_folder: Callable[..., Path]) -> dict[str, str]:
    """A home whose records are the server's."""
    shutil.copyfile(
        PROJECT / "deploy" / "postgres" / "dagster.yaml", Path(environment["DAGSTER_HOME"]) / "dagster.yaml"
    )
    return environment | {"DAGSTER_POSTGRES_URL": server, "SL_EXPERIMENTS": str(experiment_folder())}


def test_two_commands_at_once_share_what_they_both_need(
    on_postgres: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", on_postgres["DAGSTER_POSTGRES_URL"])
    command = ("run", "tiny", "--through", "teacher_checkpoint", "--animals")
    with ThreadPoolExecutor(2) as typing:
        both = [typing.submit(run_forked, on_postgres, *command, name) for name in ("owl", "wolf")]
    assert [done.result().returncode for done in both] == [0, 0]
    assert not (Path(on_postgres["DAGSTER_HOME"]) / "history").exists(), "nothing is kept in SQLite"
    with dg.DagsterInstance.from_config(on_postgres["DAGSTER_HOME"]) as instance:
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
        key = dg.AssetKey(["tiny", "teacher_checkpoint"])
        assert instance.get_materialized_partitions(key) == {"neutral", "owl", "wolf"}


@pytest.mark.skipif(not os.environ.get("SL_TEST_DAEMONS"), reason="SL_TEST_DAEMONS is unset: daemons take minutes")
def test_a_backfill_is_divided_into_runs_that_run_in_parallel(on_postgres: dict[str, str]) -> None:
    on_postgres["SL_PARTITIONS_PER_RUN"] = "2"
    partitions = ["neutral", "owl", "wolf"]
    with running_ui(on_postgres) as port:
        backfill = launch_backfill(port, ["tiny/teacher_checkpoint"], partitions)
        assert ended(port, backfill, seconds=240) == "COMPLETED_SUCCESS"
        runs = ask(port, RUNS)["runsOrError"]["results"]
    its = [run for run in runs if {"key": "dagster/backfill", "value": backfill} in run["tags"]]
    assert len(its) == 2, "neutral and owl, and wolf"
    assert {run["status"] for run in runs} == {"SUCCESS"}
    assert not (Path(on_postgres["DAGSTER_HOME"]) / "history").exists(), "nothing is kept in SQLite"
    lake = Lake(on_postgres["SL_DATA_LAKE"])
    assert all(lake.record(Place("tiny", "teacher_checkpoint", name)) for name in partitions)


def test_a_url_of_another_driver_is_one_line(on_postgres: dict[str, str]) -> None:
    on_postgres["DAGSTER_POSTGRES_URL"] = on_postgres["DAGSTER_POSTGRES_URL"].replace("+psycopg2", "")
    done = run_forked(on_postgres, "run", "tiny", "--through", "number_prompts")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "postgresql+psycopg2://" in done.stderr
