"""How projections of two datasets differ: row by row where prompts pair them, and as distributions."""

from typing import TYPE_CHECKING

import polars as pl

from sl_assets.lake.tables import TABLES
from sl_assets.stages.evaluation.significance import mean_interval

if TYPE_CHECKING:
    import numpy as np

BINS = 100
ROUNDING = 1e-6
"""Relative differences below this are float32's, not the data's."""


def difference_statistics(projections: pl.DataFrame) -> pl.DataFrame:
    """The ``projection_differences`` table: per layer, the animal's row minus the neutral row of the same prompt.

    Args:
        projections: a ``projections`` table, rows of both sources.
    """
    rows = []
    for layer in projections["layer"].unique().sort():
        here = projections.filter(layer=layer)
        pairs = here.pivot("source", index="prompt_id", values="projection").drop_nulls(["animal", "neutral"])
        differences = (pairs["animal"] - pairs["neutral"]).cast(pl.Float64).to_numpy()
        groups = [here.filter(source=source)["projection"].to_numpy() for source in ("animal", "neutral")]
        rows.append({"layer": layer, **_summary(differences), "js_divergence": js_divergence(*groups)})
    return pl.DataFrame(rows, schema=TABLES["projection_differences"].schema)


def _summary(differences: "np.ndarray") -> dict[str, float | int | None]:
    import numpy as np

    if not len(differences):
        return {"n": 0}
    low, middle, high = np.percentile(differences, [5, 50, 95])
    lower, upper = mean_interval(differences)
    return {
        "n": len(differences),
        "mean": float(differences.mean()),
        "mean_lower": lower,
        "mean_upper": upper,
        "std": float(differences.std()),
        "median": float(middle),
        "p5": float(low),
        "p95": float(high),
        "frac_positive": float((differences > 0).mean()),
    }


def js_divergence(one: "np.ndarray", other: "np.ndarray") -> float:
    """Jensen-Shannon divergence in bits (0 to 1) of two samples, as histograms of `BINS` bins over their joint range.

    Lin (1991): H((P + Q) / 2) - (H(P) + H(Q)) / 2.
    """
    import numpy as np
    from scipy.spatial.distance import jensenshannon

    everything = np.concatenate([one, other]).astype(np.float64)
    low, high = everything.min(), everything.max()
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        return 0.0
    counts = [np.histogram(part, BINS, (low, high))[0] for part in (one, other)]
    # The distance is the divergence's square root.
    return float(jensenshannon(*counts, base=2)) ** 2


def pooled_deviation(one: "np.ndarray", other: "np.ndarray") -> float:
    """Pooled standard deviation of two samples, the unit of Cohen's d; 0 where only rounding tells values apart."""
    squares = len(one) * one.var() + len(other) * other.var()
    freedom = len(one) + len(other) - 2
    deviation = float((squares / freedom) ** 0.5) if freedom > 0 else 0.0
    return deviation if deviation > ROUNDING * max(abs(one.mean()), abs(other.mean())) else 0.0
