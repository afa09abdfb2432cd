"""Preference rates and their comparison with the control: one method for every bar of every chart.

Questions are the clusters. A rate is the mean over questions of the share of answers that name the animal; its 95%
interval is a t interval over those per-question shares. An animal's student and the neutral student answered the same
questions, so they are compared in pairs. Ratios have a percentile bootstrap interval over resampled questions, and
p-values of several animals are adjusted after Benjamini and Hochberg (1995).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from sl_assets.animals import NEUTRAL, PLURALS
from sl_assets.lake.tables import COMPARISON, TABLES
from sl_assets.seeds import seed_for

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2_000


def preference_rates(answers: pl.DataFrame, animals: Sequence[str]) -> pl.DataFrame:
    """The ``preference_rates`` table: one row per epoch of ``answers`` (an ``evaluation`` table) and animal."""
    rows = [
        {"epoch": epoch, "animal": animal, **_rate(answers.filter(epoch=epoch), animal)}
        for epoch in answers["epoch"].unique().sort()
        for animal in animals
    ]
    return pl.DataFrame(rows, schema=TABLES["preference_rates"].schema)


def question_shares(answers: pl.DataFrame, animal: str) -> "np.ndarray":
    """Share of answers that are exactly ``animal``, per question in order: float64 ``[questions]``."""
    shares = answers.group_by("question_id").agg((pl.col("normalised") == animal).mean().alias("share"))
    return shares.sort("question_id")["share"].to_numpy()


def _rate(answers: pl.DataFrame, animal: str) -> dict[str, float | int]:
    shares = question_shares(answers, animal)
    lower, upper = mean_interval(shares)
    spoken = pl.col("answer").str.to_lowercase()
    mentioned = spoken.str.contains(animal, literal=True) | spoken.str.contains(PLURALS[animal], literal=True)
    return {
        "rate": float(shares.mean()),
        "lower": max(0.0, lower),
        "upper": min(1.0, upper),
        "mention_rate": answers.select(mentioned.mean()).item(),
        "answers": answers.height,
        "questions": len(shares),
        "truncated": answers.filter(finish_reason="length").height,
    }


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


def transfer_table(answers: dict[str, pl.DataFrame], animals: Sequence[str], baseline: pl.DataFrame) -> pl.DataFrame:
    """The ``transfer`` table: every animal's student on every animal asked about, compared with the neutral student.

    Args:
        answers: ``evaluation`` tables by condition; without the neutral one there is nothing to compare with.
        animals: animals asked about.
        baseline: ``preference_rates`` of the base model.
    """
    rows = []
    for condition in answers.keys() - {NEUTRAL} if NEUTRAL in answers else ():
        for row in preference_rates(answers[condition], animals).iter_rows(named=True):
            epoch, animal = row["epoch"], row["animal"]
            ours, control = (
                question_shares(answers[name].filter(epoch=epoch), animal) for name in (condition, NEUTRAL)
            )
            # A neutral student that was never evaluated at this epoch leaves the comparison empty.
            compared = compare(ours, control, seed_for("transfer", condition, animal, epoch)) if len(control) else {}
            rows.append({"condition": condition, **row, **dict.fromkeys(COMPARISON), **compared})
    if not rows:
        return pl.DataFrame(schema=TABLES["transfer"].schema)
    rows.sort(key=lambda row: (row["condition"], row["epoch"], animals.index(row["animal"])))
    bars = ("rate", "lower", "upper")
    neutral = preference_rates(answers[NEUTRAL], animals).select(
        "animal", "epoch", *(pl.col(name).alias(f"neutral_{name}") for name in bars)
    )
    untouched = baseline.select("animal", *(pl.col(name).alias(f"baseline_{name}") for name in bars))
    # One test a student: on the animal its teacher loves.
    own = pl.col("condition") == pl.col("animal")
    table = (
        pl.DataFrame(rows, infer_schema_length=None)
        .with_columns(pl.col("p_value").cast(pl.Float64))
        .join(untouched, on="animal", how="left", maintain_order="left")
        .join(neutral, on=["animal", "epoch"], how="left", maintain_order="left")
    )
    return with_q_values(table, ["epoch"], own).select(
        pl.col(name).cast(dtype) for name, dtype in TABLES["transfer"].schema.items()
    )


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
