"""Runs as jobs of a real Ray cluster on this machine, whose nodes have GPUs that are only declared."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from sl_assets.config import PROJECT
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets_tests.cli.command import run_forked
from sl_assets_tests.dagster_ui import ended, launch_backfill, running_ui, wait_until
from sl_assets_tests.ray_cluster import running_cluster

pytest.importorskip("dagster_ray", reason="dagster-ray is not installed: pip install -e '.[ray]'")
pytestmark = pytest.mark.skipif(
    not os.environ.get("SL_TEST_RAY"), reason="SL_TEST_RAY is unset: a cluster takes minutes"
)


@pytest.fixture
def on_ray(environment: dict[str, str], experiment_folder: Callable[..., Path]) -> dict[str, str]:
    """A home whose runs are jobs of one cluster."""
    shutil.copyfile(PROJECT / "deploy" / "ray" / "dagster.yaml", Path(environment["DAGSTER_HOME"]) / "dagster.yaml")
    # Two cards, which the nodes share out: a run whose node has one leases that, and no other.
    return environment | {"SL_EXPERIMENTS": str(experiment_folder(partitions_per_run=1)), "SL_GPUS": "2"}


def test_a_backfill_spreads_over_two_nodes_and_survives_the_death_of_one(
    on_ray: dict[str, str], tmp_path: Path
) -> None:
    animals = ["owl", "wolf"]
    with running_cluster(2, 1, on_ray) as cluster, running_ui(on_ray | {"RAY_ADDRESS": cluster.address}) as port:
        names = {node["nodeId"]: name for name, node in cluster.nodes().items()}

        def running() -> dict[str, str]:
            """Runs that have a node now, with that."""
            jobs = [job for job in cluster.jobs() if job["status"] == "RUNNING" and job["driver_node_id"]]
            return {job["metadata"]["dagster/run-id"]: names[job["driver_node_id"]] for job in jobs}

        backfill = launch_backfill(port, ["tiny/teacher_checkpoint"], animals)
        wait_until(lambda: len(running()) == 2, seconds=400)
        first = running()
        assert sorted(first.values()) == ["node0", "node1"], "one run a node, for each has one GPU"
        cluster.kill("node1")
        assert ended(port, backfill, seconds=400) == "COMPLETED_SUCCESS"
    apart = on_ray | {"SL_DATA_LAKE": str(tmp_path / "undisturbed"), "DAGSTER_HOME": str(tmp_path / "undisturbed_home")}
    made = run_forked(apart, "run", "tiny", "--through", "teacher_checkpoint", "--animals", ",".join(animals))
    assert made.returncode == 0, made.stderr
    lakes = Lake(on_ray["SL_DATA_LAKE"]), Lake(apart["SL_DATA_LAKE"])
    for animal in animals:
        spread, undisturbed = (lake.record(Place("tiny", "teacher_checkpoint", animal)) for lake in lakes)
        assert spread
        assert undisturbed
        assert spread.data_version == undisturbed.data_version
    with dg.DagsterInstance.from_config(on_ray["DAGSTER_HOME"]) as instance:
        runs = instance.get_runs()
    (lost,) = (run_id for run_id, node in first.items() if node == "node1")
    assert {run.run_id: run.is_success for run in runs if run.run_id in first}[lost] is False
    assert [run.root_run_id for run in runs if run.parent_run_id] == [lost], "nothing else is begun again"


def test_a_job_that_ends_before_its_run_begins_is_a_failed_run_with_the_reason(
    on_ray: dict[str, str], tmp_path: Path
) -> None:
    # The nodes find a command of that name, and it is broken.
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "dagster").write_text("#!/bin/sh\necho no such environment >&2\nexit 3\n")
    (programs / "dagster").chmod(0o755)
    broken = on_ray | {"PATH": f"{programs}:{on_ray['PATH']}"}
    with running_cluster(1, 1, broken) as cluster, running_ui(on_ray | {"RAY_ADDRESS": cluster.address}) as port:
        backfill = launch_backfill(port, ["tiny/teacher_checkpoint"], ["owl"])
        assert ended(port, backfill, seconds=400) == "COMPLETED_FAILED"
    with dg.DagsterInstance.from_config(on_ray["DAGSTER_HOME"]) as instance:
        runs = instance.get_runs()
        assert len(runs) == 4, "begun again three times: a machine may have been at fault"
        said = [event.message for event in instance.all_logs(runs[0].run_id)]
    assert any("no such environment" in line for line in said)
