"""Every dataset on every persona vector: which animal's rows lean towards which animal."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.lake.tables import TABLES
from sl_assets.stages.evaluation.significance import mean_interval
from sl_assets.stages.projections.activations import read_rows
from sl_assets.stages.projections.projecting import project
from sl_assets.stages.projections.statistics import js_divergence, pooled_deviation

Open = Callable[[], AbstractContextManager[Path]]
"""Opens an ``activations`` folder; on S3 that is a download."""


def cross_table(
    datasets: dict[str, Open], vectors: dict[str, np.ndarray], state: str, layers: Sequence[int]
) -> pl.DataFrame:
    """The ``cross_projections`` table.

    One dataset is open at a time. Of its activations only tiles are in memory, of projections its own and neutral's.

    Args:
        datasets: activations by condition; without neutral there are no comparisons.
        vectors: persona vectors by animal, float32 ``[layers + 1, hidden]``.
        state: kind of pooled state that is projected.
        layers: layers of the states and vectors.
    """

    def read(condition: str) -> tuple[pl.Series, dict[int, np.ndarray]]:
        with datasets[condition]() as folder:
            directions = {layer: np.stack([vector[layer] for vector in vectors.values()]) for layer in layers}
            found = {layer: project(folder, state, layer, directions[layer]) for layer in layers}
            return read_rows(folder)["prompt_id"], found

    control = read(NEUTRAL) if NEUTRAL in datasets else None
    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        prompts, projections = control if control and dataset == NEUTRAL else read(dataset)
        pairs = _pairs(prompts, control[0]) if control and dataset != NEUTRAL else None
        for layer in layers:
            for i, animal in enumerate(vectors):
                # Sums of tens of thousands of float32 would lose digits.
                own = projections[layer][:, i].astype(np.float64)
                row = {"dataset": dataset, "animal": animal, "layer": layer, "rows": len(own)}
                row |= {"mean": float(own.mean()), "std": float(own.std())}
                if control and pairs:
                    row |= _compared(own, control[1][layer][:, i].astype(np.float64), *pairs)
                rows.append(row)
    return pl.DataFrame(rows, schema=TABLES["cross_projections"].schema)


def _pairs(prompts: pl.Series, control: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Positions, in either dataset, of the rows that answer the same prompt."""
    ours, theirs = (pl.DataFrame({"prompt_id": ids}).with_row_index() for ids in (prompts, control))
    both = ours.join(theirs, on="prompt_id", maintain_order="left")
    return both["index"].to_numpy(), both["index_right"].to_numpy()


def _compared(own: np.ndarray, control: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    differences = own[ours] - control[theirs]
    lower, upper = mean_interval(differences) if len(differences) else (None, None)
    deviation = pooled_deviation(own, control)
    return {
        "n": len(differences),
        "difference": float(differences.mean()) if len(differences) else None,
        "difference_lower": lower,
        "difference_upper": upper,
        "effect_size": float(own.mean() - control.mean()) / deviation if deviation else None,
        "js_divergence": js_divergence(own, control),
    }
