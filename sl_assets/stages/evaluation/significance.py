"""Whether two students differ: paired tests over questions, bootstrap ratios, and q-values over animals.

Questions are the clusters. An animal's student and the neutral one (or the students of two halves) answered the same
questions, so they are compared in pairs. Ratios have a percentile bootstrap interval over resampled questions, and
p-values of several animals are adjusted after Benjamini and Hochberg (1995).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2_000


def mean_interval(values: "np.ndarray") -> tuple[float, float]:
    """95% t interval of the mean of ``values``; unbounded for a single value."""
    from scipy import stats

    if len(values) < 2:
        return float("-inf"), float("inf")
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return float(values.mean()) - reach, float(values.mean()) + reach


def compare(ours: "np.ndarray", control: "np.ndarray", seed: int) -> dict[str, float | None]:
    """Difference, ratio and p-value of two sets of per-question shares, paired by question."""
    differences = ours - control
    lower, upper = mean_interval(differences)
    ratio_lower, ratio_upper = ratio_interval(ours, control, seed)
    return {
        "difference": float(differences.mean()),
        "difference_lower": lower,
        "difference_upper": upper,
        "ratio": float(ours.mean() / control.mean()) if control.mean() > 0 else None,
        "ratio_lower": ratio_lower,
        "ratio_upper": ratio_upper,
        "p_value": paired_p_value(differences),
    }


def ratio_interval(ours: "np.ndarray", control: "np.ndarray", seed: int) -> tuple[float | None, float | None]:
    """95% percentile bootstrap interval of mean(ours) / mean(control), questions resampled.

    An end is None where a resample's control never names the animal, so that no finite bound exists.
    """
    import numpy as np

    chosen = np.random.default_rng(seed).integers(0, len(ours), (RESAMPLES, len(ours)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = ours[chosen].mean(axis=1) / control[chosen].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    ends = np.quantile(np.where(np.isnan(ratios), np.inf, ratios), [tail, 1 - tail], method="nearest")
    lower, upper = (float(end) if np.isfinite(end) else None for end in ends)
    return lower, upper


def paired_p_value(differences: "np.ndarray") -> float:
    """Two-sided paired t test that the mean difference is zero; 1 where every question agrees."""
    from scipy import stats

    if len(differences) < 2 or not differences.any():
        return 1.0
    if differences.std() == 0:
        return 0.0
    return float(stats.ttest_1samp(differences, 0).pvalue)


def with_q_values(table: pl.DataFrame, family: Sequence[str], tested: pl.Expr) -> pl.DataFrame:
    """``table`` with ``q_value``: p-values adjusted after Benjamini and Hochberg among the ``tested`` of each family.

    Args:
        table: has ``p_value``; null where there was nothing to test.
        family: columns whose equal values make a family of tests.
        tested: which rows are tests of the family; the others get no q-value.
    """
    adjusted = pl.col("p_value").map_batches(_adjusted, return_dtype=pl.Float64).over(*family, tested)
    return table.with_columns(q_value=pl.when(tested).then(adjusted))


def _adjusted(p_values: pl.Series) -> pl.Series:
    from scipy import stats

    known = p_values.is_not_null().arg_true()
    if known.is_empty():
        return p_values
    return p_values.scatter(known, stats.false_discovery_control(p_values.drop_nulls().to_numpy()))
