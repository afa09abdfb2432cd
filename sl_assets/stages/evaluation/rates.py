"""Preference rates: one method for every bar of every chart.

A rate is the mean over questions of the share of answers that count for the animal; its 95% interval is a t interval
over those per-question shares. Which answers count is in ``counting``. Of exact answers the share of a question is the
animal's probability. How rates are compared is in ``significance``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import Method
from sl_assets.lake.tables import COMPARISON, TABLES
from sl_assets.seeds import seed_for
from sl_assets.stages.evaluation.counting import counts, measure_of, mentions
from sl_assets.stages.evaluation.significance import compare, mean_interval, with_q_values

if TYPE_CHECKING:
    import numpy as np


def preference_rates(answers: pl.DataFrame, animals: Sequence[str]) -> pl.DataFrame:
    """The ``preference_rates`` table: one row per epoch of ``answers`` and animal.

    ``answers`` is an ``evaluation`` table, of which bare names count unless `counted` has prepared it, or one of
    ``answer_probabilities``.
    """
    rows = [
        {"epoch": epoch, "animal": animal, **_rate(answers.filter(epoch=epoch), animal)}
        for epoch in answers["epoch"].unique().sort()
        for animal in animals
    ]
    return pl.DataFrame(rows, schema=TABLES["preference_rates"].schema)


def method_of(answers: pl.DataFrame) -> Method:
    """How ``answers`` were measured, by their columns."""
    return "exact" if "probability" in answers.columns else "sampled"


def with_method(rates: pl.DataFrame) -> pl.DataFrame:
    """``rates`` with columns that say how they were measured: before there were any, bare names were drawn."""
    former = {"method": "sampled", "counted": "exact"}
    return rates.with_columns(pl.lit(former[name]).alias(name) for name in former if name not in rates.columns)


def question_shares(answers: pl.DataFrame, animal: str) -> "np.ndarray":
    """Share of answers that count for ``animal``, per question in order: float64 ``[questions]``."""
    if method_of(answers) == "exact":
        return answers.filter(animal=animal).sort("question_id")["probability"].to_numpy()
    shares = answers.group_by("question_id").agg(counts(animal, answers).mean().alias("share"))
    return shares.sort("question_id")["share"].to_numpy()


def _rate(answers: pl.DataFrame, animal: str) -> dict[str, Any]:
    shares = question_shares(answers, animal)
    lower, upper = mean_interval(shares)
    measured = {
        "method": method_of(answers),
        "counted": measure_of(answers),
        "rate": float(shares.mean()),
        "lower": max(0.0, lower),
        "upper": min(1.0, upper),
        "questions": len(shares),
    }
    if measured["method"] == "exact":
        return measured
    return {
        **measured,
        "mention_rate": answers.select(mentions(animal, answers).mean()).item(),
        "answers": answers.height,
        "truncated": answers.filter(finish_reason="length").height,
    }


def transfer_table(answers: dict[str, pl.DataFrame], animals: Sequence[str], baseline: pl.DataFrame) -> pl.DataFrame:
    """The ``transfer`` table: every animal's student on every animal asked about, compared with the neutral student.

    Args:
        answers: ``evaluation`` tables, `counted` alike, or ``answer_probabilities``, by condition; nothing is compared
            without neutral's.
        animals: animals asked about.
        baseline: ``preference_rates`` of the base model, measured alike.
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
