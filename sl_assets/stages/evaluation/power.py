"""Which effect an experiment of given size would find: students, questions and answers against their spreads.

The effect is the difference of a trait's rate, student minus neutral, and its test that of ``significance``: students
of equal seeds in pairs, paired by question. With a single student there is none, for nothing tells an effect of the
trait from what is this student's own.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from sl_assets.config import EvaluationSettings, Method
from sl_assets.config.wording import FULL, Words
from sl_assets.stages.evaluation.significance import Uncertainty

SHOWN = (1, 2, 3, 5, 10)
"""Numbers of students that tables of effects have a row for."""


class Spreads(NamedTuple):
    """What effects are held against, all as shares of answers.

    The defaults are about as published: between students of equal settings 12 points in the median (Qwen 14B, three
    runs), between questions 25 (the same model's first run, animals that it took over), and the rate of OLMo 3 7B's
    neutral student on the dolphin.

    Attributes:
        students: standard deviation between students of the difference.
        questions: standard deviation between questions of the difference.
        rate: rate of neutral students.
        measured: whether these are an experiment's own; else published ones, or somebody's guess.
    """

    students: float = 0.12
    questions: float = 0.25
    rate: float = 0.11
    measured: bool = False


PUBLISHED = Spreads()
POINTS = 60
"""Of each distribution that is integrated over."""


def minimum_detectable_effect(
    students: int,
    questions: int = len(FULL.questions),
    answers: int | None = None,
    spreads: Spreads = PUBLISHED,
    power: float = 0.8,
    level: float = 0.05,
) -> float | None:
    """Smallest rise of the rate that is found with probability ``power`` at ``level``, two-sided, as a share.

    Args:
        students: of the animal, and of neutral.
        questions: asked of each.
        answers: to each question; None where rates are exact.
        spreads: what is assumed of students, questions and the rate.

    Returns:
        None where no rise is large enough: with one student, and where even answers that all name the animal are not.
    """
    from scipy import optimize

    largest = 1 - spreads.rate
    if students < 2 or questions < 2:
        return None

    def beyond(effect: float) -> float:
        return power_of(effect, students, questions, answers, spreads, level) - power

    if beyond(largest) < 0:
        return None
    return float(optimize.brentq(beyond, 0.0, largest, xtol=1e-6))


def power_of(
    effect: float, students: int, questions: int, answers: int | None, spreads: Spreads, level: float = 0.05
) -> float:
    """Probability that a rise of ``effect`` is found with two students or more; other arguments as above.

    The mean over what students and questions may show as their variances, each a multiple of a chi-squared variable.
    Drawn answers are binomial, and all questions alike in this: where they are not, the noise is smaller.
    """
    import numpy as np
    from scipy import special, stats

    rates = (spreads.rate, min(1.0, spreads.rate + effect))
    noise = sum(rate * (1 - rate) for rate in rates) / answers / students / questions if answers else 0.0
    of_students, of_questions = spreads.students**2 / students, spreads.questions**2 / questions + noise
    deviation = math.sqrt(of_students + of_questions)
    if deviation == 0:
        return float(effect != 0)
    middles = (np.arange(POINTS) + 0.5) / POINTS
    shown_students, shown_questions = (
        stats.chi2.ppf(middles, freedom) / freedom for freedom in (students - 1, questions - 1)
    )
    # As `between_students` takes from the variance of students' means what single answers explain of it.
    shown_students = np.maximum(0, shown_students * (of_students + noise) - noise)
    beside = Uncertainty(0.0, 1, 1.0, questions - 1).reach(level)
    between = Uncertainty(1.0, students - 1, 0.0, questions - 1).reach(level)
    reach = np.sqrt(between**2 * shown_students[:, None] + beside**2 * of_questions * shown_questions)
    found = special.ndtr((effect - reach) / deviation) + special.ndtr((-effect - reach) / deviation)
    return float(found.mean())


def size_of(evaluation: EvaluationSettings, words: Words, method: Method) -> tuple[int, int | None]:
    """Questions that are asked, of those that ``words`` have, and answers to each; None where they are weighed."""
    answers = evaluation.samples_per_question if method == "sampled" else None
    return len(evaluation.questions or words.questions), answers


def spreads_of(transfer: pl.DataFrame, method: Method) -> Spreads:
    """Spreads that a ``transfer`` table shows of its last epoch, each animal's students on it; else published ones.

    Between questions they are a little too large where answers are drawn, for those differ of themselves.
    """
    own = transfer.filter(pl.col("condition") == pl.col("animal"), method=method)
    own = own.filter(pl.col("epoch") == pl.col("epoch").max())
    pooled = own.select(
        students=(pl.col("difference_sd_students") ** 2).mean().sqrt(),
        questions=(pl.col("difference_sd_questions") ** 2).mean().sqrt(),
        rate=pl.col("neutral_rate").mean(),
    ).row(0, named=True)
    known = {name: value for name, value in pooled.items() if value is not None}
    return Spreads(**known, measured="students" in known)


def effects_table(
    questions: int, answers: int | None, spreads: Spreads, students: Sequence[int] = SHOWN
) -> pl.DataFrame:
    """The smallest effect that is found four times in five, by number of students, as text in points and percent."""
    rows = []
    for count in students:
        effect = minimum_detectable_effect(count, questions, answers, spreads)
        if effect is None:
            why = "none beyond this student" if count == 1 else "none, not even to 100%"
            rows.append((count, why, ""))
        else:
            rates = f"{100 * spreads.rate:.1f} to {100 * (spreads.rate + effect):.1f}%"
            rows.append((count, f"{100 * effect:+.1f} points", rates))
    return pl.DataFrame(rows, schema=["students", "smallest effect found", "neutral to animal"], orient="row")


def assumptions(questions: int, answers: int | None, spreads: Spreads) -> str:
    """What `effects_table` is said under, in one line."""
    asked = f"{questions} questions, {f'{answers} answers each' if answers else 'exact rates'}"
    whose = "measured" if spreads.measured else "assumed, not measured"
    return (
        f"{asked}; the difference has a standard deviation of {100 * spreads.students:.1f} points between students "
        f"({whose}) and {100 * spreads.questions:.1f} between questions; neutral rate {100 * spreads.rate:.1f}%; "
        "found in 80% of experiments, at level 5%, two-sided"
    )
