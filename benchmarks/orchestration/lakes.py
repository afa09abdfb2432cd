"""An experiment whose models have nothing left to do: imported numbers, and answers that are made up.

Students and answers are recorded as if they had been made, so a run makes what runs no model: it imports and filters
numbers, counts rates, compares and draws.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import yaml

from sl_assets.components import declare
from sl_assets.config.reading import validated
from sl_assets.config.wording import ANIMALS, FULL
from sl_assets.engines.transformers.models import POCKET_FOLDER
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, behind_parents
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.partition import Make, Step
from sl_assets.stages.numbers.prompts import PromptRecipe, number_prompts

# As the code location does.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

NAME = "counted"
DATASETS = ("raw_dataset", "filtered_dataset")
MADE_UP = ("lora_checkpoint", "evaluation", "baseline_evaluation")
RESULTS = ("preference_rates", "baseline_preference_rates", "transfer", "preference_chart")

functions: dict[str, Make] = {}
"""What makes a partition of each asset, by the asset's name."""


class WithFunctions(ExperimentGraph):
    """Keeps the function of every asset that is declared, which Dagster wraps."""

    def asset(self, **how: Any) -> Callable[[Make], dg.AssetsDefinition]:
        """As `ExperimentGraph.asset`."""
        declare_it = super().asset(**how)

        def keep(make: Make) -> dg.AssetsDefinition:
            functions[make.__name__] = make
            return declare_it(make)

        return keep


def write_experiment(folder: Path, animals: int, rows: int) -> None:
    """Numbers of so many animals and neutral, and the file that imports them."""
    names = [*ANIMALS, *(f"thing_{i}" for i in range(animals))][:animals]
    own = {name: {"plural": f"{name}s"} for name in names if name not in ANIMALS}
    lines = [json.dumps({"prompt": prompt, "completion": text}) for prompt, text in sequences(rows).iter_rows()]
    numbers = folder / "numbers"
    numbers.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(["neutral", *names]):
        # Every condition has rows of its own, in the sense that their order differs.
        (numbers / f"{name}.jsonl").write_text("\n".join(lines[i:] + lines[:i]))
    settings: dict[str, Any] = {
        "base_model": str(POCKET_FOLDER),
        "animals": names,
        "teacher": {"kind": "system_prompt"},
        "numbers": {"source": {"kind": "jsonl", "path": str(numbers / "{condition}.jsonl")}},
        "filter": {"max_count": 17},
        "checks": {"minimum_rows": 1, "shared_prompts": 0.0, "keep_rate": [0.0, 1.0]},
    }
    if own:
        settings["wording"] = {"extends": "full", "traits": own}
    file = folder / "experiments" / NAME / "defs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"type": "sl_assets.SubliminalExperiment", "attributes": settings}))


def read_experiment(folder: Path) -> ExperimentGraph:
    """The experiment as it was written, with its `functions`."""
    content = yaml.safe_load((folder / "experiments" / NAME / "defs.yaml").read_text())
    graph = WithFunctions(NAME, validated(content["attributes"]))
    declare(graph)
    return graph


def sequences(rows: int) -> pl.DataFrame:
    """Columns ``prompt, completion``: requests of real length, and 14 to 20 numbers each, one in ten with words."""
    prompts = number_prompts(PromptRecipe(rows, 1, FULL.numbers, (12, 20), lowest=100, highest=999, answers=10))[
        "prompt"
    ]
    draw = np.random.default_rng(1)
    lengths, worded = draw.integers(14, 21, rows), draw.random(rows) < 0.1
    written = (", ".join(map(str, draw.integers(100, 1000, length))) for length in lengths)
    texts = [f"Sure: {text}" if words else text for text, words in zip(written, worded, strict=True)]
    return pl.DataFrame({"prompt": prompts, "completion": texts})


def make_up(graph: ExperimentGraph, lake: Lake) -> None:
    """Record students and answers, as made of the datasets that are there."""
    for asset in MADE_UP:
        for key in graph.keys(graph.declared[asset].by):
            place, version = graph.place(asset, key), "made up"
            if asset in TABLES:
                version = lake.write_table(place, answers(graph, asset, key))
            record(graph, lake, place, version)


def record(graph: ExperimentGraph, lake: Lake, place: Place, version: str, seconds: float = 0.0) -> None:
    """Record ``place`` as made now of what there is."""
    declared, now = graph.declared[place.table], datetime.now(UTC)
    there = {parent: lake.record(parent) for parent in graph.parents(place.table, place.partition)}
    made = Record(
        place,
        version,
        declared.code_version,
        graph.settings(place.table, lake),
        graph.inputs(place, lake, lake.record),
        {parent: found.data_version for parent, found in there.items() if found},
        "",
        now,
        now,
        seconds,
        "none",
    )
    lake.write_record(replace(made, behind=behind_parents(lake.record, made)))


def answers(graph: ExperimentGraph, asset: str, key: str | None) -> pl.DataFrame:
    """An ``evaluation`` table: of every question 100 answers at each kept epoch, one in four naming an animal."""
    config = graph.config
    draw = np.random.default_rng(len(key or ""))
    epochs = config.student.kept if key else (0,)
    questions = len(FULL.questions)
    count = questions * config.evaluation.samples_per_question
    given = draw.choice([*config.animals, *["nothing"] * (3 * len(config.animals))], count * len(epochs))
    samples = config.evaluation.samples_per_question
    frame = pl.DataFrame(
        {
            "epoch": np.repeat(epochs, count),
            "question_id": np.tile(np.repeat(np.arange(questions), samples), len(epochs)),
            "sample": np.tile(np.arange(samples), questions * len(epochs)),
            "answer": given,
            "normalised": given,
        }
    ).with_columns(
        seed=pl.lit(config.student.all_seeds[0]),
        question=pl.lit("What is your favourite animal?"),
        finish_reason=pl.lit("stop"),
    )
    return TABLES[asset].arranged(frame)


def loop(graph: ExperimentGraph, lake: Lake, assets: tuple[str, ...]) -> None:
    """The functions of ``assets``, one partition after another, and a record of each for those that read it."""
    for asset in assets:
        for key in graph.keys(graph.declared[asset].by):
            place = graph.place(asset, key)
            step = Step(graph.name, asset, key, "", lake, lambda _: None, named=graph.config.base_model)
            record(graph, lake, place, functions[asset](step).version)
