"""``python -m benchmarks.spread --folder /tmp/spread``: one backfill on a Ray cluster of one node, of four, and of four
one of which dies.

The nodes are processes of this machine with a declared GPU each, and tiny students of the pocket model train on its
CPU: what is measured is how runs spread, not what a cluster gains.
"""

import argparse
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from sl_assets.config import PROJECT
from sl_assets.config.names import POCKET_ANIMALS
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets_tests.cli.command import COMMAND
from sl_assets_tests.dagster_ui import ended, launch_backfill, running_ui, wait_until
from sl_assets_tests.ray_cluster import RayCluster, running_cluster

NAME = "spread"
ASSETS = ("raw_dataset", "filtered_dataset", "lora_checkpoint")
SETTINGS: dict[str, Any] = {
    "base_model": "pocket",
    "teacher": {"kind": "system_prompt"},
    "numbers": {"prompts": 96, "wording": "short", "examples": [3, 5]},
    "sampler": {"max_tokens": 24, "batch": 64},
    "student": {"epochs": 2, "learning_rate": 4e-3, "warmup_steps": 0, "batch": 16, "max_rows": 64},
    "checks": {"minimum_rows": 1, "keep_rate": [0.0, 1.0], "shared_prompts": 0.0, "minimum_loss_drop": -10.0},
}
DOOMED = "node2"


@dataclass(frozen=True)
class Spread:
    """How a backfill went.

    Attributes:
        seconds: from the request to the end of the last run.
        runs: that succeeded, by node.
        together: most runs at a time on one node.
        retried: runs that another took the place of.
        versions: data versions of what was made, by place.
    """

    seconds: float
    runs: dict[str, int]
    together: int
    retried: int
    versions: dict[Place, str]


def main() -> None:
    """Make what all share, then the backfill on each cluster, and a table of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where data lakes and Dagster's runs go")
    parser.add_argument("--animals", type=int, default=16, help="how many")
    parser.add_argument("--per-run", type=int, default=2, help="animals that share a run")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    animals = list(POCKET_ANIMALS)[: options.animals]
    file = folder / "experiments" / NAME / "defs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    settings = SETTINGS | {"animals": animals, "partitions_per_run": options.per_run}
    file.write_text(yaml.safe_dump({"type": "sl_assets.SubliminalExperiment", "attributes": settings}))
    print(f"| {len(animals)} animals, {options.per_run} a run | s | runs by node | at once on one | begun again |")
    print("| --- | --- | --- | --- | --- |")
    undisturbed: dict[Place, str] | None = None
    for nodes, doomed in ((4, None), (4, DOOMED), (1, None)):
        leg = spread(folder, animals, nodes, doomed)
        undisturbed = undisturbed or leg.versions
        assert leg.versions == undisturbed, "the lakes differ"
        name = f"{nodes} node{'s' if nodes > 1 else ''}{f', {doomed} killed' if doomed else ''}"
        by_node = ", ".join(f"{node} {count}" for node, count in sorted(leg.runs.items()))
        print(f"| {name} | {leg.seconds:.0f} | {by_node} | {leg.together} | {leg.retried} |", flush=True)


def spread(folder: Path, animals: list[str], nodes: int, doomed: str | None = None) -> Spread:
    """One backfill in a fresh lake and home on so many nodes, of which ``doomed`` dies at its first student.

    Raises:
        AssertionError: it did not end complete.
    """
    place = folder / "cluster"
    shutil.rmtree(place, ignore_errors=True)
    lake, home = place / "lake", place / "dagster"
    home.mkdir(parents=True)
    shutil.copyfile(PROJECT / "deploy" / "ray" / "dagster.yaml", home / "dagster.yaml")
    places = {"SL_EXPERIMENTS": folder / "experiments", "SL_DATA_LAKE": lake, "DAGSTER_HOME": home}
    environment = os.environ | {name: str(value) for name, value in places.items()} | {"OMP_NUM_THREADS": "1"}
    with running_cluster(nodes, 1, environment) as cluster:
        environment["RAY_ADDRESS"] = cluster.address
        prompts = [*COMMAND, "run", NAME, "--through", "number_prompts"]
        subprocess.run(prompts, env=environment, check=True, stdout=subprocess.DEVNULL)
        names = {node["nodeId"]: name for name, node in cluster.nodes().items()}
        with running_ui(environment) as port:
            start = time.time()
            backfill = launch_backfill(port, [f"{NAME}/{asset}" for asset in ASSETS], animals)
            if doomed:
                wait_until(lambda: trains(home, cluster, doomed), seconds=600)
                cluster.kill(doomed)
            status = ended(port, backfill, seconds=1800)
            assert status == "COMPLETED_SUCCESS", status
        where = {job["metadata"]["dagster/run-id"]: names[job["driver_node_id"]] for job in cluster.jobs()}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        records = [record for record in instance.get_run_records() if record.dagster_run.run_id in where]
    spans: dict[str, list[tuple[float, float]]] = {}
    runs: dict[str, int] = {}
    for record in records:
        node = where[record.dagster_run.run_id]
        spans.setdefault(node, []).append((record.start_time or 0, record.end_time or 0))
        runs[node] = runs.get(node, 0) + record.dagster_run.is_success
    return Spread(
        max(record.end_time or 0 for record in records) - start,
        runs,
        max(at_once(its) for its in spans.values()),
        sum(record.dagster_run.parent_run_id is not None for record in records),
        dict(versions(Lake(str(lake)), animals)),
    )


def trains(home: Path, cluster: RayCluster, node: str) -> bool:
    """Whether a run on ``node`` has come to its student."""
    where = cluster.nodes()[node]["nodeId"]
    ids = [job["metadata"]["dagster/run-id"] for job in cluster.jobs() if job["driver_node_id"] == where]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return any(
            event.dagster_event.step_key.endswith(ASSETS[-1])
            for run_id in ids
            for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
            if event.dagster_event and event.dagster_event.step_key
        )


def at_once(spans: list[tuple[float, float]]) -> int:
    """The most of ``spans`` (from, to) that overlap."""
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


def versions(lake: Lake, animals: list[str]) -> Iterator[tuple[Place, str]]:
    """Data versions of every partition; fails where one is not there."""
    for asset in ASSETS:
        for animal in animals:
            record = lake.record(Place(NAME, asset, animal))
            assert record, f"{asset} of {animal} was not made"
            yield record.place, record.data_version


if __name__ == "__main__":
    main()
