"""Whether students differ: means over students and questions, their intervals, ratios, p-values and q-values.

Students of equal settings and questions are both drawn from many that could have been: a mean over them varies with
either. Its variance has two parts, what students bring and what questions bring, each estimated by the analysis of
variance of the table students x questions. Each part has its own degrees of freedom, two for three students, so the
interval is not one t interval over the sum: the squares of the two half-widths that either part would have alone are
added (Howe, 1974, Journal of the American Statistical Association 69:789). In simulated experiments
(``benchmarks/coverage``) this covers where a bootstrap over three students, or one t with Satterthwaite's degrees of
freedom, falls short.

With one student there is no first part: everything is given this student, over questions alone. Students are compared
in pairs by question, and in pairs by seed where both have the same ones. P-values of several animals are adjusted after
Benjamini and Hochberg (1995).
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2_000
LEAST = 1e-200
"""Below it p-values are not told apart."""


def mean_interval(values: "np.ndarray") -> tuple[float, float]:
    """95% t interval of the mean of ``values``; unbounded for a single value."""
    from scipy import stats

    if len(values) < 2:
        return float("-inf"), float("inf")
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return float(values.mean()) - reach, float(values.mean()) + reach


class Uncertainty(NamedTuple):
    """Variance of a mean over students and questions, in its two parts.

    Attributes:
        students: what students bring; 0 where each side has one.
        students_freedom: degrees of freedom that this is estimated with.
        questions: what questions bring.
        questions_freedom: degrees of freedom that this is estimated with; 0 for a single question.
    """

    students: float
    students_freedom: float
    questions: float
    questions_freedom: int

    def reach(self, level: float = 1 - CONFIDENCE) -> float:
        """Half-width of the interval that misses the mean with probability ``level``; unbounded for one question."""
        from scipy import special

        if not self.questions_freedom:
            return float("inf")
        of_students = special.stdtrit(self.students_freedom, level / 2) ** 2 * self.students
        of_questions = special.stdtrit(self.questions_freedom, level / 2) ** 2 * self.questions
        return math.sqrt(of_students + of_questions)

    def p_value(self, distance: float) -> float:
        """Two-sided p-value of a mean so far from its value under the null: the level whose interval ends there."""
        from scipy import optimize, special

        if not self.questions_freedom or distance == 0:
            return 1.0
        variance = self.students + self.questions
        if variance == 0:
            return 0.0
        t = abs(distance) / math.sqrt(variance)
        # As if all of the variance were of the one part, and of the other: between these lies the level.
        ends = [2 * float(special.stdtr(freedom, -t)) for freedom in (self.questions_freedom, self.students_freedom)]
        if self.students == 0:
            return ends[0]
        low, high = max(min(ends), LEAST), max(ends)
        if high <= low:
            return high
        # Where rounding leaves a distance of next to nothing, the level is 1.
        low, high = math.log(low) - 1e-6, min(0.0, math.log(high) + 1e-6)
        return math.exp(optimize.brentq(lambda level: self.reach(math.exp(level)) - abs(distance), low, high))


def between_students(shares: "np.ndarray") -> float:
    """Variance between students, from ``shares`` of ``[students, questions]``, two students at least.

    That of their means, less what it would be if students differed on single questions only; 0 where that is more.
    """
    students, questions = shares.shape
    means = shares.mean(axis=1)
    if questions < 2:
        return float(means.var(ddof=1))
    rest = shares - means[:, None] - shares.mean(axis=0) + shares.mean()
    explained = (rest**2).sum() / ((students - 1) * (questions - 1)) / questions
    return max(0.0, float(means.var(ddof=1) - explained))


def uncertainty(groups: "Sequence[np.ndarray]", by_question: "np.ndarray") -> Uncertainty:
    """Uncertainty of the mean of ``by_question``.

    Args:
        groups: shares of ``[students, questions]`` of students that are independent of each other's: of one mean its
            students, of a difference both sides, or the differences of pairs.
        by_question: per question the mean over students, or the difference of two such means.
    """
    parts = [(between_students(shares) / len(shares), len(shares) - 1) for shares in groups if len(shares) > 1]
    students = sum(variance for variance, _ in parts)
    # Of two sides whose students vary unlike: Welch's degrees of freedom.
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    freedom = students**2 / spread if spread > 0 else 1.0
    count = len(by_question)
    return Uncertainty(students, freedom, float(by_question.var(ddof=1)) / count if count > 1 else 0.0, count - 1)


def rate_interval(shares: "np.ndarray") -> tuple[float, float]:
    """95% interval of the mean of ``shares``, ``[students, questions]``, each from 0 to 1.

    Of several students it is an interval of the angle whose squared sine is the rate, turned back. Students' rates are
    skewed near 0 and 1, and an even interval would miss too often on the far side.
    """
    if len(shares) == 1:
        lower, upper = mean_interval(shares[0])
        return max(0.0, lower), min(1.0, upper)
    rate = float(shares.mean())
    reach = uncertainty([shares], shares.mean(axis=0)).reach()
    if not 0 < rate < 1:
        return rate, rate
    angle, reach = math.asin(math.sqrt(rate)), reach / 2 / math.sqrt(rate * (1 - rate))
    return math.sin(max(0.0, angle - reach)) ** 2, math.sin(min(math.pi / 2, angle + reach)) ** 2


def compare(ours: "np.ndarray", control: "np.ndarray", seed: int, paired: bool = True) -> dict[str, float | None]:
    """Difference, ratio and p-value of two sets of shares, paired by question.

    Args:
        ours: ``[students, questions]``, or ``[questions]`` of one student.
        control: the same, of the same questions.
        seed: of the resamples of a ratio of single students.
        paired: whether the students of both sides belong together, row by row, as those of equal seeds do: they start
            from the same adapter and, of datasets alike, see rows in the same order.
    """
    import numpy as np

    ours, control = np.atleast_2d(ours), np.atleast_2d(control)
    if len(ours) == len(control) == 1:
        return _compare_two(ours[0], control[0], seed)
    if paired and len(ours) != len(control):
        raise ValueError(f"{len(ours)} students and {len(control)} make no pairs; compare them with paired=False")
    groups = [ours - control] if paired else [ours, control]
    by_question = ours.mean(axis=0) - control.mean(axis=0)
    difference = float(by_question.mean())
    known = uncertainty(groups, by_question)
    several = len(ours) > 1 and len(control) > 1
    between = math.sqrt(sum(between_students(shares) for shares in groups)) if several else None
    return {
        "difference": difference,
        "difference_lower": difference - known.reach(),
        "difference_upper": difference + known.reach(),
        "difference_sd_students": between,
        "difference_sd_questions": _deviation(by_question),
        **_ratio(ours, control, paired),
        "p_value": known.p_value(difference),
    }


def _compare_two(ours: "np.ndarray", control: "np.ndarray", seed: int) -> dict[str, float | None]:
    """Two students, by their shares of ``[questions]``."""
    differences = ours - control
    lower, upper = mean_interval(differences)
    ratio_lower, ratio_upper = ratio_interval(ours, control, seed)
    return {
        "difference": float(differences.mean()),
        "difference_lower": lower,
        "difference_upper": upper,
        "difference_sd_students": None,
        "difference_sd_questions": _deviation(differences),
        "ratio": float(ours.mean() / control.mean()) if control.mean() > 0 else None,
        "ratio_lower": ratio_lower,
        "ratio_upper": ratio_upper,
        "p_value": paired_p_value(differences),
    }


def _deviation(by_question: "np.ndarray") -> float | None:
    return float(by_question.std(ddof=1)) if len(by_question) > 1 else None


def _ratio(ours: "np.ndarray", control: "np.ndarray", paired: bool) -> dict[str, float | None]:
    """Ratio of two means over students and questions, with the interval of its logarithm, turned back.

    The logarithm varies, in first order, as the difference of both sides' shares, each over its mean. There is no
    interval where one side never names the animal.
    """
    above, below = float(ours.mean()), float(control.mean())
    ratio = above / below if below > 0 else None
    if not ratio:
        return {"ratio": ratio, "ratio_lower": None, "ratio_upper": None}
    ours, control = ours / above, control / below
    groups = [ours - control] if paired else [ours, control]
    reach = uncertainty(groups, ours.mean(axis=0) - control.mean(axis=0)).reach()
    upper = ratio * math.exp(reach) if reach < 700 else None
    return {"ratio": ratio, "ratio_lower": ratio * math.exp(-reach), "ratio_upper": upper}


def ratio_interval(ours: "np.ndarray", control: "np.ndarray", seed: int) -> tuple[float | None, float | None]:
    """95% percentile bootstrap interval of mean(ours) / mean(control) of two students, questions resampled.

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
