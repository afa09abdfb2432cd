"""Every dataset on every persona vector: which animal's rows lean towards which animal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.evaluation.rates import mean_interval
from sl_assets.lake.tables import TABLES
from sl_assets.projections.activations import read_rows
from sl_assets.projections.projecting import project
from sl_assets.projections.statistics import js_divergence, pooled_deviation


def cross_table(
    datasets: dict[str, Path], vectors: dict[str, np.ndarray], state: str, layers: Sequence[int]
) -> pl.DataFrame:
    """The ``cross_projections`` table.

    Of the activations only tiles are in memory, of the projections those of two datasets.

    Args:
        datasets: ``activations`` folders by condition; without neutral there are no comparisons.
        vectors: persona vectors by animal, float32 ``[layers + 1, hidden]``.
        state: kind of pooled state that is projected.
        layers: layers of the states and vectors.
    """
    prompts = {dataset: read_rows(folder)["prompt_id"] for dataset, folder in datasets.items()}
    rows: list[dict[str, Any]] = []
    for layer in layers:
        directions = np.stack([vector[layer] for vector in vectors.values()])
        control = project(datasets[NEUTRAL], state, layer, directions) if NEUTRAL in datasets else None
        for dataset, folder in datasets.items():
            own = project(folder, state, layer, directions)
            found = [{"rows": len(own), "mean": float(p.mean()), "std": float(p.std())} for p in _columns(own)]
            if control is not None and dataset != NEUTRAL:
                pairs = _pairs(prompts[dataset], prompts[NEUTRAL])
                compared = (_compared(p, c, *pairs) for p, c in zip(_columns(own), _columns(control), strict=True))
                found = [one | other for one, other in zip(found, compared, strict=True)]
            heads = ({"dataset": dataset, "animal": animal, "layer": layer} for animal in vectors)
            rows += [head | one for head, one in zip(heads, found, strict=True)]
    return pl.DataFrame(rows, schema=TABLES["cross_projections"].schema)


def _columns(projections: np.ndarray) -> Iterator[np.ndarray]:
    # Sums of tens of thousands of float32 would lose digits.
    return iter(projections.T.astype(np.float64))


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
