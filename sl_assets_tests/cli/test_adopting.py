"""A lake that came from elsewhere, beside a Dagster that knows nothing of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets_tests.cli.command import run_forked

ASSETS = ("raw_dataset", "filtered_dataset", "lora_checkpoint", "evaluation", "preference_rates")
CONDITIONS = ("neutral", "owl", "wolf")


@pytest.fixture
def here(environment: dict[str, str], finished_once: Path, experiment_folder: Callable[..., Path]) -> dict[str, str]:
    """The lake of the finished experiment, and a home of Dagster that has not seen it."""
    shutil.copytree(finished_once / "lake", environment["SL_DATA_LAKE"], dirs_exist_ok=True)
    return environment | {"SL_EXPERIMENTS": str(experiment_folder())}


def test_a_home_comes_to_know_all_that_a_lake_holds(here: dict[str, str]) -> None:
    done = run_forked(here, "adopt", "tiny")
    assert done.returncode == 0, done.stderr
    lake = Lake(here["SL_DATA_LAKE"])
    with dg.DagsterInstance.from_config(here["DAGSTER_HOME"]) as instance:
        for asset in ASSETS:
            wanted = dg.AssetRecordsFilter(dg.AssetKey(["tiny", asset]))
            told = [found.asset_materialization for found in instance.fetch_materializations(wanted, limit=9).records]
            versions = {event.partition: (event.tags or {})["dagster/data_version"] for event in told if event}
            assert versions == {name: lake.version(Place("tiny", asset, name)) for name in CONDITIONS}
            assert len(told) == len(CONDITIONS)
        check = dg.AssetCheckKey(dg.AssetKey(["tiny", "filtered_dataset"]), "holds_numbers_only")
        assert instance.event_log_storage.get_latest_asset_check_execution_by_key([check])
    *lines, last = done.stdout.splitlines()
    assert int(last.split()[0]) == sum(int(line.split()[-1]) for line in lines)
    assert run_forked(here, "adopt").stdout.startswith("0 partitions of ")


def test_what_is_stale_is_told_and_stays_stale(
    here: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    here["SL_EXPERIMENTS"] = str(experiment_folder(sampler={"max_tokens": 12, "batch": 40}))
    assert run_forked(here, "adopt", "tiny").returncode == 0
    with dg.DagsterInstance.from_config(here["DAGSTER_HOME"]) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(["tiny", "raw_dataset"])) == set(CONDITIONS)
    assert "stale" in run_forked(here, "run", "tiny", "--through", "raw_dataset", "--dry-run").stdout


def test_a_run_says_how_the_rest_becomes_known_and_does_so_once(here: dict[str, str]) -> None:
    command = ("run", "tiny", "--through", "number_prompts")
    first, second = run_forked(here, *command), run_forked(here, *command)
    assert "has not heard of: sl-assets adopt" in first.stderr
    assert "adopt" not in second.stderr
