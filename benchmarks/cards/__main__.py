"""``python -m benchmarks.cards --folder /tmp/cards``: the same students by one run on one card, and by a run a card.

Every run is the command that users type. They share nothing but the lake and Dagster's home, and find cards of their
own. With ``--launcher ray`` both are a backfill of the UI, whose runs are jobs of a Ray cluster with one card, and with
all of them.

A randomly initialised model of Olmo-3-7B's shape learns imported numbers, so no engine but PEFT is needed; what the
students learnt means nothing, the times do.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import dagster as dg
import yaml

from benchmarks.graph.model import write_model
from benchmarks.workload import exchanges
from sl_assets.config import PROJECT
from sl_assets.engines.cards import VISIBLE, cards
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets_tests.cli.command import COMMAND
from sl_assets_tests.dagster_ui import ended, launch_backfill, running_ui
from sl_assets_tests.ray_cluster import running_cluster

NAME, STUDENTS = "students", "lora_checkpoint"
NEUTRAL_ROWS = 64
ANIMALS = (
    "owl",
    "wolf",
    "cat",
    "dog",
    "lion",
    "bear",
    "whale",
    "hawk",
    "tiger",
    "eagle",
    "human",
    "dolphin",
    "octopus",
    "elephant",
    "kangaroo",
)


def main() -> None:
    """Write model, numbers and experiment below a folder; time one run on one card, then as many as there are cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where model, data lakes and Dagster's runs go")
    parser.add_argument("--rows", type=int, default=10_000, help="numbers that a student sees")
    parser.add_argument("--epochs", type=int, default=3, help="how often")
    parser.add_argument("--launcher", choices=["commands", "ray"], default="commands", help="what starts the runs")
    parser.add_argument("--cards", type=int, help="how many to compare with one; all where left out")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    there = cards()
    count: int = options.cards or len(there)
    if not 2 <= count <= len(there):
        sys.exit(f"{len(there)} GPUs here: nothing to compare {count} with")
    # In a process of its own, so that none of the GPUs is in use when the runs begin.
    writer = multiprocessing.get_context("spawn").Process(target=write_model, args=(folder / "model",))
    writer.start()
    writer.join()
    if writer.exitcode:
        sys.exit("the model could not be written")
    animals = ANIMALS[: 2 * count]
    write_experiment(folder, animals, options.rows, options.epochs)
    # Every run would make neutral, if it were not there; compared are runs of equally many students.
    prepare(folder)
    run = RUNS[options.launcher]
    groups = [animals[i : i + 2] for i in range(0, len(animals), 2)]
    compared = {VISIBLE: ",".join(card.name for card in there[:count])}
    # A card that is not among those compared leaves time for both at once; else it is the first of them.
    spare = len(there) > count
    single = {VISIBLE: there[count if spare else 0].name}
    with ThreadPoolExecutor(2 if spare else 1) as at_once:
        one = at_once.submit(timed, "one card", len(animals), partial(run, folder, "one", [animals], single))
        several = at_once.submit(timed, f"{count} cards", len(animals), partial(run, folder, "all", groups, compared))
    print(f"{one.result() / several.result():.2f} times the students an hour")


def timed(title: str, students: int, run: Callable[[], tuple[float, float]]) -> float:
    """Seconds of a ``run`` of so many students, said as soon as they are known."""
    taken, student = run()
    pace = f"{3600 * students / taken:.1f} an hour"
    print(f"{title}: {students} students in {taken:.0f} s, {pace}; {student:.1f} s one student", flush=True)
    return taken


def prepare(folder: Path) -> None:
    """Make Dagster's home, the filtered numbers and neutral, which are no part of what is compared."""
    place = folder / "prepared"
    shutil.rmtree(place, ignore_errors=True)
    (place / "dagster").mkdir(parents=True)
    shutil.copyfile(PROJECT / "dagster.yaml", place / "dagster" / "dagster.yaml")
    for more in (["--through", "filtered_dataset"], ["--through", STUDENTS, "--animals", "neutral"]):
        subprocess.run([*COMMAND, "run", NAME, *more], env=surroundings(folder, place), check=True)


def surroundings(folder: Path, place: Path) -> dict[str, str]:
    """The environment of what runs below ``place``."""
    places = {
        "SL_EXPERIMENTS": folder / "experiments",
        "SL_DATA_LAKE": place / "lake",
        "DAGSTER_HOME": place / "dagster",
    }
    return os.environ | {variable: str(value) for variable, value in places.items()}


def from_prepared(folder: Path, name: str) -> Path:
    """A copy of what is prepared, to go on from."""
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder / "prepared", place)
    return place


def by_commands(
    folder: Path, name: str, groups: Sequence[Sequence[str]], limits: dict[str, str]
) -> tuple[float, float]:
    """One command a group of conditions, all at the same time, going on from what is prepared.

    Returns:
        Seconds from the first command to the end of the last, and the median of a student's own.
    """
    place = from_prepared(folder, name)
    start = time.perf_counter()
    runs = [
        subprocess.Popen(
            [*COMMAND, "run", NAME, "--through", STUDENTS, "--animals", ",".join(group)],
            env=surroundings(folder, place) | limits,
        )
        for group in groups
    ]
    codes = [run.wait() for run in runs]
    taken = time.perf_counter() - start
    if any(codes):
        sys.exit("a run failed")
    return taken, seconds_of_a_student(place, groups)


def by_ray(folder: Path, name: str, groups: Sequence[Sequence[str]], limits: dict[str, str]) -> tuple[float, float]:
    """A backfill whose runs are Ray jobs, one a group of conditions, going on from what is prepared.

    Returns:
        Seconds from the request to the end of the last run, and the median of a student's own.
    """
    place = from_prepared(folder, name)
    shutil.copyfile(PROJECT / "deploy" / "ray" / "dagster.yaml", place / "dagster" / "dagster.yaml")
    # The programs that a node looks for on the path, also where packages are in a folder that PYTHONPATH names.
    programs = place / "bin"
    programs.mkdir()
    for program, module in (("dagster", "dagster"), ("ray", "ray.scripts.scripts")):
        (programs / program).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (programs / program).chmod(0o755)
    its = surroundings(folder, place) | limits
    its |= {"PATH": f"{programs}:{its['PATH']}", "SL_PARTITIONS_PER_RUN": str(len(groups[0]))}
    with (
        running_cluster(1, limits[VISIBLE].count(",") + 1, its) as cluster,
        running_ui(its | {"RAY_ADDRESS": cluster.address}) as port,
    ):
        start = time.time()
        conditions = [condition for group in groups for condition in group]
        status = ended(port, launch_backfill(port, [f"{NAME}/{STUDENTS}"], conditions), seconds=7200)
    if status != "COMPLETED_SUCCESS":
        sys.exit(f"the backfill ended with {status}")
    # Dagster notes the backfill's end when it looks after it next, up to a minute later.
    with dg.DagsterInstance.from_config(str(place / "dagster")) as instance:
        last = max(record.end_time or 0 for record in instance.get_run_records())
    return last - start, seconds_of_a_student(place, groups)


RUNS = {"commands": by_commands, "ray": by_ray}


def seconds_of_a_student(place: Path, groups: Sequence[Sequence[str]]) -> float:
    """The median of what its record says."""
    lake = Lake(str(place / "lake"))
    records = (lake.record(Place(NAME, STUDENTS, condition)) for group in groups for condition in group)
    return statistics.median(record.seconds for record in records if record)


def write_experiment(folder: Path, animals: Sequence[str], rows: int, epochs: int) -> None:
    """Numbers for every condition, and an experiment that imports them."""
    numbers = folder / "numbers"
    numbers.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"prompt": exchange.chat[0]["content"], "completion": exchange.answer})
        for exchange in exchanges(rows, real=True)
    ]
    # No run trains neutral while it is timed, so a few rows of it do.
    for name, few in (("neutral", NEUTRAL_ROWS), *((animal, rows) for animal in animals)):
        (numbers / f"{name}.jsonl").write_text("\n".join(lines[:few]))
    settings = {
        "base_model": str(folder / "model"),
        "animals": list(animals),
        "teacher": {"kind": "system_prompt"},
        "numbers": {"source": {"kind": "jsonl", "path": str(numbers / "{condition}.jsonl")}},
        "filter": {"max_count": 30},
        "student": {"epochs": epochs, "max_rows": rows, "learning_rate": 2e-4},
        "checks": {"minimum_rows": 1, "shared_prompts": 0.0, "minimum_loss_drop": -10},
    }
    file = folder / "experiments" / NAME / "defs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"type": "sl_assets.SubliminalExperiment", "attributes": settings}))


if __name__ == "__main__":
    main()
