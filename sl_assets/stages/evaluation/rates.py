"""Preference rates: one method for every bar of every chart.

A rate is the mean over students of equal settings, and over questions, of the share of answers that count for the
animal. Its 95% interval is over both; of one student it is a t interval over questions, given this student. Which
answers count is in ``counting``. Of exact answers the share of a question is the animal's probability. How rates are
compared, and where intervals come from, is in ``significance``.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import Method
from sl_assets.errors import DatasetError
from sl_assets.lake.tables import COMPARISON, TABLES
from sl_assets.seeds import seed_for
from sl_assets.stages.evaluation.counting import counts, measure_of, mentions
from sl_assets.stages.evaluation.significance import between_students, compare, rate_interval, with_q_values

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


def with_columns_of(table: str, rates: pl.DataFrame) -> pl.DataFrame:
    """``rates`` with all columns of ``table``: where none tells how many students there are, there is one a side."""
    rates = with_method(rates)
    lacking = [name for name in TABLES[table].schema if name not in rates.columns]
    one = ("students", "neutral_students")
    return rates.with_columns(
        pl.lit(1 if name in one else None, TABLES[table].schema[name]).alias(name) for name in lacking
    )


def intervals_over(students: pl.Series) -> str:
    """What 95% intervals are over, as charts and tables say it: of so many students each, null where it is none's."""
    counts = students.drop_nulls().unique().sort().to_list()
    if not counts or counts == [1]:
        return "95% intervals over questions, given these students, one each"
    if counts[0] == 1:
        return "95% intervals over questions and students; of one student given this student"
    return f"95% intervals over questions and {' or '.join(map(str, counts))} students"


def seeds_of(answers: pl.DataFrame) -> list[int | None]:
    """Seeds of the students that answered, in order; one None for the base model and where no column tells them."""
    return answers["seed"].unique().sort().to_list() if "seed" in answers.columns else [None]


def student_shares(answers: pl.DataFrame, animal: str) -> "np.ndarray":
    """Share of answers that count for ``animal``: float64 ``[students, questions]``, by seed and question in order.

    ``answers`` are of one epoch.

    Raises:
        DatasetError: students were not asked the same questions.
    """
    students = ["seed"] if "seed" in answers.columns else []
    cell = [*students, "question_id"]
    if method_of(answers) == "exact":
        shares = answers.filter(animal=animal).select(*cell, share="probability")
    else:
        shares = answers.group_by(cell).agg(counts(animal, answers).mean().alias("share"))
    seeds, questions = seeds_of(answers), shares["question_id"].n_unique()
    asked = shares.group_by(students or pl.lit(None)).agg(pl.col("question_id").n_unique())["question_id"]
    if shares.height != len(seeds) * questions or (asked != questions).any():
        raise DatasetError(
            f"answers: {shares.height} pairs of student and question, where {len(seeds)} students of seeds "
            f"{', '.join(map(str, seeds))} and {questions} questions make {len(seeds) * questions}; ask every student "
            "the same questions, once an epoch"
        )
    return shares.sort(cell)["share"].to_numpy().reshape(len(seeds), questions)


def _rate(answers: pl.DataFrame, animal: str) -> dict[str, Any]:
    shares = student_shares(answers, animal)
    lower, upper = rate_interval(shares)
    students, questions = shares.shape
    measured = {
        "method": method_of(answers),
        "counted": measure_of(answers),
        "rate": float(shares.mean()),
        "lower": lower,
        "upper": upper,
        "questions": questions,
        "students": students,
        "sd_students": math.sqrt(between_students(shares)) if students > 1 else None,
        "sd_questions": float(shares.mean(axis=0).std(ddof=1)) if questions > 1 else None,
    }
    if measured["method"] == "exact":
        return measured
    return {
        **measured,
        "mention_rate": answers.select(mentions(animal, answers).mean()).item(),
        "answers": answers.height,
        "truncated": answers.filter(finish_reason="length").height,
    }


def compare_answers(ours: pl.DataFrame, control: pl.DataFrame, animal: str, seed: int) -> dict[str, float | None]:
    """Comparison of two sides' answers of one epoch on ``animal``: students of equal seeds are pairs, if all are."""
    paired = seeds_of(ours) == seeds_of(control)
    return compare(student_shares(ours, animal), student_shares(control, animal), seed, paired)


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
            ours, control = (answers[name].filter(epoch=epoch) for name in (condition, NEUTRAL))
            # A neutral student that was never evaluated at this epoch leaves the comparison empty.
            drawn = seed_for("transfer", condition, animal, epoch)
            compared = {} if control.is_empty() else compare_answers(ours, control, animal, drawn)
            rows.append({"condition": condition, **row, **dict.fromkeys(COMPARISON), **compared})
    if not rows:
        return pl.DataFrame(schema=TABLES["transfer"].schema)
    rows.sort(key=lambda row: (row["condition"], row["epoch"], animals.index(row["animal"])))
    bars = ("rate", "lower", "upper")
    neutral = preference_rates(answers[NEUTRAL], animals).select(
        "animal", "epoch", *(pl.col(name).alias(f"neutral_{name}") for name in (*bars, "students"))
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
