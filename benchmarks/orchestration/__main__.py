"""``python -m benchmarks.orchestration --folder /tmp/orchestration``: what orchestration costs, and what rows cost.

The stages that run no model, of experiments of several sizes, by ``sl-assets run`` and by a plain loop over the same
functions; then single functions over tables of 3,000 to 3,000,000 rows. Every measurement is a process of its own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.orchestration.lakes import (
    DATASETS,
    MADE_UP,
    NAME,
    RESULTS,
    loop,
    make_up,
    read_experiment,
    write_experiment,
)
from benchmarks.orchestration.rows import MEASURED, measure
from sl_assets.lake.lake import Lake

POLL_SECONDS = 0.1
LOOPED = "looped"


class Used(NamedTuple):
    """What a command and all its processes took.

    Attributes:
        seconds, cpu: from start to end, and of processors.
        peak: bytes of memory, at the fullest moment.
        processes: most at a time.
    """

    seconds: float
    cpu: float
    peak: int
    processes: int


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where lakes and Dagster's runs go")
    parser.add_argument("--animals", type=int, nargs="*", default=[4, 16, 64], help="sizes of experiments")
    parser.add_argument("--each", type=int, default=30_000, help="numbers of an animal")
    parser.add_argument("--rows", type=int, nargs="*", default=[3_000, 30_000, 300_000, 3_000_000], help="of tables")
    parser.add_argument("--only", choices=sorted(MEASURED), nargs="*", default=list(MEASURED), help="functions")
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    if options.measure:
        measure(folder, options.measure[0], int(options.measure[1]))
    elif options.loop:
        run_loop(folder)
    else:
        compare_graphs(folder, options.animals, options.each)
        compare_rows(folder, options.only, options.rows)


def compare_graphs(folder: Path, sizes: Sequence[int], each: int) -> None:
    """A line for each size: by the command, and by a loop."""
    heads = "animals", "partitions", "command, s", "CPU, s", "outside functions", "loop, s", "CPU, s", "processes"
    print(f"| {' | '.join([*heads, 'peak', 'events'])} |\n|{' --- |' * 10}")
    for animals in sizes:
        place = folder / f"{animals}_animals"
        shutil.rmtree(place, ignore_errors=True)
        write_experiment(place, animals, each)
        module = [sys.executable, "-m", "benchmarks.orchestration", "--folder", str(place)]
        plain = took(place, [*module, "--loop"], {})
        # Datasets come out the same again, so students and answers made of the loop's are fresh here.
        graph, looped, lake = read_experiment(place), Lake(str(place / LOOPED)), Lake(str(place / "lake"))
        for asset in MADE_UP:
            inside = Path("experiment=" + NAME) / asset
            shutil.copytree(Path(looped.root) / inside, Path(lake.root) / inside)
        home = place / "dagster"
        around = {"SL_EXPERIMENTS": place / "experiments", "SL_DATA_LAKE": lake.root, "DAGSTER_HOME": home}
        command = [sys.executable, "-m", "sl_assets", "run", NAME, "--through", ",".join(RESULTS)]
        used = took(place, command, around)
        made = [
            record.seconds
            for asset in (*DATASETS, *RESULTS)
            for key in graph.keys(graph.declared[asset].by)
            if (record := lake.record(graph.place(asset, key)))
        ]
        events = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
        print(
            f"| {animals} | {len(made)} | {used.seconds:.1f} | {used.cpu:.1f} | {1 - sum(made) / used.seconds:.0%} "
            f"| {plain.seconds:.1f} | {plain.cpu:.1f} | {used.processes} | {used.peak / 2**30:.2f} GiB "
            f"| {events / 2**20:.1f} MiB |",
            flush=True,
        )


def run_loop(place: Path) -> None:
    """The same as the command does, in a lake beside the other; students and answers are made up on the way."""
    graph, lake = read_experiment(place), Lake(str(place / LOOPED))
    loop(graph, lake, DATASETS)
    make_up(graph, lake)
    loop(graph, lake, RESULTS)


def compare_rows(folder: Path, names: Sequence[str], sizes: Sequence[int]) -> None:
    """A line for each function and size."""
    print(
        "\n| function | rows | CPU, s | CPU, us a row | memory, B a row | peak |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name in names:
        for rows in sizes:
            command = [sys.executable, "-m", "benchmarks.orchestration", "--folder", str(folder)]
            subprocess.run([*command, "--measure", name, str(rows)], check=True)


def took(folder: Path, command: Sequence[str], around: dict[str, object]) -> Used:
    """Run ``command``, and watch it."""
    environment = os.environ | {name: str(value) for name, value in around.items()}
    before = os.times()
    start, peak, processes = time.perf_counter(), 0, 0
    with (folder / "log").open("a") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as run:
        root = psutil.Process(run.pid)
        while run.poll() is None:
            sizes = list(sizes_of(root))
            peak, processes = max(peak, sum(sizes)), max(processes, len(sizes))
            time.sleep(POLL_SECONDS)
    if run.returncode:
        sys.exit((folder / "log").read_text())
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Used(time.perf_counter() - start, cpu, peak, processes)


def sizes_of(root: psutil.Process) -> Sequence[int]:
    """Bytes of memory of ``root`` and of every process below it."""
    found = []
    try:
        for process in [root, *root.children(recursive=True)]:
            found.append(process.memory_info().rss)
    except psutil.NoSuchProcess:
        pass
    return found


if __name__ == "__main__":
    main()
