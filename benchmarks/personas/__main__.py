"""``python -m benchmarks.personas``: how far answers that name an animal lie along its persona vector.

Reads a lake in which the base model has answered the favourite-animal questions and persona vectors exist. The answers
were given without any system prompt and have no part in the vectors. Printed, as rows of a Markdown table: the mean
projection of answers that name the animal minus that of all others, in pooled standard deviations.
"""

import argparse

import numpy as np
import polars as pl
from dotenv import load_dotenv

from sl_assets.config import PROJECT
from sl_assets.definitions import lake_root
from sl_assets.engines.interfaces import STATES, Exchange
from sl_assets.engines.transformers.encoder import TransformersEncoder
from sl_assets.experiments import find_experiments
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.stages.personas.vectors import load_vectors, unit
from sl_assets.stages.projections.statistics import pooled_deviation


def main() -> None:
    """Print the separation of every animal's answers at every layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="pocket")
    parser.add_argument("--vector", choices=STATES, default="response_mean")
    parser.add_argument("--state", choices=STATES, default="response_mean")
    options = parser.parse_args()
    load_dotenv(PROJECT / ".env")
    config, lake = find_experiments().loaded[options.experiment].config, Lake(lake_root())
    answers = lake.read_table(Place(options.experiment, "baseline_evaluation"))
    answers = answers.filter(pl.col("answer").str.strip_chars() != "")
    states = encoded(config.base_model, answers)[:, :, STATES.index(options.state)]
    layers = range(states.shape[1])
    print("| animal | answers | " + " | ".join(f"layer {layer}" for layer in layers) + " |")
    print("| --- | --- |" + " --- |" * len(layers))
    reached = np.zeros(len(layers), int)
    for animal in config.animals:
        with lake.folder(Place(options.experiment, "persona_vector", animal)) as folder:
            vectors = load_vectors(folder)[options.vector]
        naming = (answers["normalised"] == animal).to_numpy()
        if naming.sum() < 2:
            print(f"| {animal} | {naming.sum()} |" + " |" * len(layers))
            continue
        found = [separation(states[:, layer] @ unit(vectors[layer]), naming) for layer in layers]
        reached += np.array(found) >= 1
        print(f"| {animal} | {naming.sum()} | " + " | ".join(f"{value:.1f}" for value in found) + " |")
    print("| *animals at 1 or more* | | " + " | ".join(map(str, reached)) + " |")


def encoded(base_model: str, answers: pl.DataFrame) -> np.ndarray:
    """Pooled states of every answer at every layer: ``[answers, layers + 1, len(STATES), hidden]``."""
    encoder = TransformersEncoder(base_model)
    exchanges = [
        Exchange([{"role": "user", "content": question}], answer)
        for question, answer in answers.select("question", "answer").iter_rows()
    ]
    batches = list(encoder.encode(exchanges, range(encoder.layers + 1)))
    states = np.empty((len(exchanges), *batches[0].states.shape[1:]), np.float32)
    for batch in batches:
        states[batch.rows] = batch.states
    return states


def separation(projections: np.ndarray, naming: np.ndarray) -> float:
    """Difference of the means of ``naming`` and other answers, in pooled standard deviations."""
    ours, others = projections[naming], projections[~naming]
    return float(ours.mean() - others.mean()) / pooled_deviation(ours, others)


if __name__ == "__main__":
    main()
