"""``python -m benchmarks.cards --folder /tmp/cards``: the same students by one run on one card, and by a run a card.

Every run is the command that users type. They share nothing but the lake and Dagster's home, and find cards of their
own. A randomly initialised model of Olmo-3-7B's shape learns imported numbers, so no engine but PEFT is needed; what
the students learnt means nothing, the times do.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

import sl_assets
from benchmarks.graph.model import write_model
from benchmarks.workload import exchanges
from sl_assets.engines.cards import cards
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place

NAME = "students"
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
    run(folder, "prepared", [["neutral"]], {})
    groups = [animals[i : i + 2] for i in range(0, len(animals), 2)]
    compared = {"CUDA_VISIBLE_DEVICES": ",".join(card.name for card in there[:count])}
    # A card that is not among those compared leaves time for both at once; else it is the first of them.
    spare = len(there) > count
    single = {"CUDA_VISIBLE_DEVICES": there[count if spare else 0].name}
    with ThreadPoolExecutor(2 if spare else 1) as at_once:
        one = at_once.submit(timed, "one card", folder, "one", [animals], single)
        several = at_once.submit(timed, f"{count} cards", folder, "all", groups, compared)
    print(f"{one.result() / several.result():.2f} times the students an hour")


def timed(title: str, folder: Path, name: str, groups: Sequence[Sequence[str]], limits: dict[str, str]) -> float:
    """Seconds of `run`, said as soon as they are known."""
    taken, student = run(folder, name, groups, limits)
    students = sum(len(group) for group in groups)
    pace = f"{3600 * students / taken:.1f} an hour"
    print(f"{title}: {students} students in {taken:.0f} s, {pace}; {student:.1f} s one student", flush=True)
    return taken


def run(folder: Path, name: str, groups: Sequence[Sequence[str]], limits: dict[str, str]) -> tuple[float, float]:
    """One command a group of conditions, all at the same time, going on from what is prepared.

    Returns:
        Seconds from the first command to the end of the last, and the median of a student's own.
    """
    place, prepared = folder / name, folder / "prepared"
    shutil.rmtree(place, ignore_errors=True)
    if name != prepared.name:
        shutil.copytree(prepared, place)
    lake, home = place / "lake", place / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(sl_assets.__file__).parents[1] / "dagster.yaml", home / "dagster.yaml")
    places = {"SL_EXPERIMENTS": folder / "experiments", "SL_DATA_LAKE": lake, "DAGSTER_HOME": home}
    environment = os.environ | {variable: str(value) for variable, value in places.items()}
    command = [sys.executable, "-m", "sl_assets"]
    # Makes Dagster's home, and the filtered numbers, which are no part of what is compared.
    everything = [*command, "run", NAME, "--through", "filtered_dataset"]
    subprocess.run(everything, env=environment, check=True, stdout=subprocess.DEVNULL)
    start = time.perf_counter()
    runs = [
        subprocess.Popen(
            [*command, "run", NAME, "--through", "lora_checkpoint", "--animals", ",".join(group)],
            env=environment | limits,
        )
        for group in groups
    ]
    codes = [run.wait() for run in runs]
    taken = time.perf_counter() - start
    if any(codes):
        sys.exit("a run failed")
    conditions = [condition for group in groups for condition in group]
    records = (Lake(str(lake)).record(Place(NAME, "lora_checkpoint", condition)) for condition in conditions)
    return taken, statistics.median(record.seconds for record in records if record)


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
