"""Dagster's home on a real PostgreSQL server, where one is installed (Debian: ``apt install postgresql``)."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from sl_assets.config import PROJECT
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets_tests.cli.command import run_forked
from sl_assets_tests.dagster_ui import ask, ended, free_port, launch_backfill, running_ui, wait_until

pytest.importorskip("dagster_postgres", reason="dagster-postgres is not installed")

RUNS = "{ runsOrError { ... on Runs { results { status tags { key value } } } } }"


def program(name: str) -> str | None:
    """PostgreSQL's program of that name, which Debian keeps off the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


def user() -> str | None:
    """Whom the server runs as: it refuses root."""
    if os.getuid():
        return None
    return next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")), None)


pytestmark = pytest.mark.skipif(program("initdb") is None, reason="PostgreSQL is not installed")


@pytest.fixture
def server() -> Iterator[str]:
    """A server of its own with an empty database; its URL."""
    initdb, postgres, port = program("initdb"), program("postgres"), free_port()
    assert initdb
    assert postgres
    # Not below pytest's folder, which no other user can enter.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        if who := user():
            shutil.chown(folder, who)
        command = [initdb, "-D", str(data), "-U", "dagster", "--auth=trust", "--no-sync"]
        subprocess.run(command, user=who, cwd=folder, check=True, capture_output=True)
        options = ["-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with subprocess.Popen([postgres, "-D", str(data), *options], user=who, cwd=folder) as process:
            try:
                psql = [str(program("psql")), "-h", "127.0.0.1", "-p", str(port), "-U", "dagster", "postgres"]
                create = [*psql, "-qc", "CREATE DATABASE dagster"]
                wait_until(lambda: subprocess.run(create, check=False, capture_output=True).returncode == 0, seconds=30)
                yield f"postgresql+psycopg2://dagster@127.0.0.1:{port}/dagster"
            finally:
                process.terminate()


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
