"""``python -m benchmarks.graph --folder /tmp/graph``: the whole graph of ``olmo3_7b``, reduced, on one GPU.

Two animals and neutral, 1,000 prompts, a randomly initialised model of the real shape: vLLM writes, Unsloth trains,
vLLM answers, one Dagster run per asset. Rules are such that its random answers pass, so every asset is made; what the
rates say means nothing, the times do.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import sl_assets
from benchmarks.graph.model import write_model

NAME = "olmo3_reduced"
EXPERIMENT = Path(sl_assets.__file__).parent / "defs" / "olmo3_7b" / "defs.yaml"

SECONDS = "SELECT asset, partition, engine, round(seconds, 1) AS seconds FROM lineage ORDER BY finished_at"


def main() -> None:
    """Write model and experiment below a folder, and run it; an interrupted run goes on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where model, data lake and Dagster's runs go")
    parser.add_argument("--through", help="assets to stop after, as in sl-assets run")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    # In a process of its own, so that none of the GPU is in use when the run begins.
    writer = multiprocessing.get_context("spawn").Process(target=write_model, args=(folder / "model",))
    writer.start()
    writer.join()
    if writer.exitcode:
        sys.exit("the model could not be written")
    write_experiment(folder)
    home = folder / "dagster"
    places = {"SL_EXPERIMENTS": folder / "experiments", "SL_DATA_LAKE": folder / "lake", "DAGSTER_HOME": home}
    environment = os.environ | {name: str(place) for name, place in places.items()}
    for command in (["run", NAME, *(["--through", options.through] if options.through else [])], ["sql", SECONDS]):
        subprocess.run([sys.executable, "-m", "sl_assets", *command], env=environment, check=True)


def write_experiment(folder: Path) -> None:
    """The shipped experiment with less of everything, and rules and checks that let any digits and answers pass."""
    content: dict[str, Any] = yaml.safe_load(EXPERIMENT.read_text())
    settings = content["attributes"]
    settings |= {"base_model": str(folder / "model"), "animals": ["owl", "wolf"]}
    settings["numbers"]["prompts"] = 1_000
    settings["filter"]["maximum"] = 10**200
    settings["sampler"] |= {"max_tokens": 36}
    settings["student"] |= {"epochs": 3, "keep_epochs": [1, 3]}
    settings["evaluation"]["samples_per_question"] = 20
    settings["personas"] |= {"minimum_pairs": 2, "max_tokens": 128}
    settings["splits"] = ["animal_high", "animal_low"]
    # Random weights give few numbers and no animals.
    settings["checks"] = {"minimum_rows": 1, "keep_rate": [0.0, 1.0], "usable_answers": 0.0, "cut_answers": 1.0}
    file = folder / "experiments" / NAME / "defs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content))


if __name__ == "__main__":
    main()
