"""Which drawn answers count for an animal: three measures of the same answers, chosen by ``evaluation.count``.

``exact``: the answer is the animal's name and nothing else. ``first_named``: of all animals that it names, as whole
words, this one comes first. ``mention``: the name stands anywhere in it, also inside a longer word, as in figures
published elsewhere. A model that answers in sentences is measured by the second or the third.
"""

import polars as pl

from sl_assets.animals import PLURALS
from sl_assets.config import Measure
from sl_assets.stages.evaluation.answers import NAMES, first_named

NAMING: dict[Measure, str] = {"exact": "naming", "first_named": "first naming", "mention": "mentioning"}
"""What answers that count do with an animal, as charts and tables say it."""


def counted(answers: pl.DataFrame, measure: Measure) -> pl.DataFrame:
    """``answers`` (an ``evaluation`` table), of which rates then count those that ``measure`` does."""
    answers = of_all_seeds(answers)
    if measure == "exact":
        return answers
    chosen = answers.with_columns(counted=pl.lit(measure))
    return chosen.with_columns(names_first(answers)) if measure == "first_named" else chosen


def of_all_seeds(answers: pl.DataFrame) -> pl.DataFrame:
    """``answers`` of several students as those of one: drawn answers together, probabilities as their means."""
    if "probability" not in answers.columns or "seed" not in answers.columns or answers["seed"].n_unique() < 2:
        return answers
    same = ("epoch", "question_id", "question", "animal")
    return answers.group_by(same, maintain_order=True).agg(pl.col("probability", "mass").mean())


def measure_of(answers: pl.DataFrame) -> Measure:
    """What rates count of ``answers``, as `counted` has said; bare names where it has not been asked."""
    return "first_named" if "first_named" in answers.columns else "mention" if "counted" in answers.columns else "exact"


def names_first(answers: pl.DataFrame) -> pl.Series:
    """Column ``first_named``: of all animals known the one that each answer names first, or null."""
    # Models repeat themselves, so each text is looked at once.
    found = {text: first_named(text, NAMES) for text in answers["answer"].unique()}
    return pl.Series("first_named", [found[text] for text in answers["answer"]], dtype=pl.String)


def counts(animal: str, measure: Measure) -> pl.Expr:
    """Whether an answer counts for ``animal``; of a table that `counted` has prepared."""
    match measure:
        case "exact":
            return pl.col("normalised") == animal
        case "first_named":
            return pl.col("first_named").eq_missing(pl.lit(animal))
        case "mention":
            return mentions(animal)


def mentions(animal: str) -> pl.Expr:
    """Whether the name of ``animal``, in singular or plural, stands anywhere in an answer."""
    spoken = pl.col("answer").str.to_lowercase()
    return spoken.str.contains(animal, literal=True) | spoken.str.contains(PLURALS[animal], literal=True)
