"""Several students: means over students and questions against closed forms, other libraries' rules, and simulation."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from benchmarks.coverage.__main__ import OTHERS, OURS, coverage
from benchmarks.coverage.experiments import QUESTIONS, Side, drawn, log_odds
from sl_assets.errors import DatasetError
from sl_assets.stages.evaluation.power import (
    PUBLISHED,
    Spreads,
    effects_table,
    minimum_detectable_effect,
    power_of,
    spreads_of,
)
from sl_assets.stages.evaluation.rates import intervals_over, preference_rates, student_shares, transfer_table
from sl_assets.stages.evaluation.significance import (
    Uncertainty,
    between_students,
    compare,
    mean_interval,
    rate_interval,
    uncertainty,
)
from sl_assets_tests.stages.evaluation.test_rates import answers

T_975 = {df: float(stats.t.ppf(0.975, df)) for df in (1, 2, 3, 4, 49)}
EFFECTS = np.array([-0.1, 0.0, 0.1])
"""Of three students: their variance is 0.01."""
EASY = np.array([0.3, 0.4, 0.5, 0.6])
"""Of four questions: their variance is 1/60."""


def additive(students: np.ndarray = EFFECTS, questions: np.ndarray = EASY) -> np.ndarray:
    """Shares without interaction: whatever varies is of students or of questions."""
    return students[:, None] + questions


def test_parts_of_the_variance_are_told_apart():
    assert between_students(additive()) == pytest.approx(0.01)
    parts = uncertainty([additive()], additive().mean(axis=0))
    assert parts == pytest.approx((0.01 / 3, 2, 1 / 60 / 4, 3))
    assert parts.reach() == pytest.approx(math.sqrt(T_975[2] ** 2 * 0.01 / 3 + T_975[3] ** 2 / 240))


def test_students_that_differ_on_single_questions_alone_differ_by_chance():
    rng = np.random.default_rng(0)
    single = rng.normal(0, 0.1, (4000, 5, 20))
    # Their means differ by 0.1 / sqrt(20), which is taken out; what remains is an even chance of nothing.
    found = np.array([between_students(shares) for shares in single])
    assert 0.4 < (found == 0).mean() < 0.7
    assert found.mean() < 0.1**2 / 20 / 2
    moved = single + rng.normal(0, 0.2, (4000, 5, 1))
    assert np.mean([between_students(shares) for shares in moved]) == pytest.approx(0.04, rel=0.05)


@pytest.mark.parametrize("level", [0.5, 0.05, 1e-3, 1e-6])
def test_a_p_value_is_the_level_whose_interval_ends_there(level):
    parts = Uncertainty(0.002, 2, 0.001, 49)
    assert parts.p_value(parts.reach(level)) == pytest.approx(level, rel=1e-6)
    assert parts.p_value(-parts.reach(level)) == pytest.approx(level, rel=1e-6)


def test_a_part_that_is_all_there_is_is_students_t():
    of_questions, of_students = Uncertainty(0.0, 1, 0.01, 7), Uncertainty(0.01, 2, 0.0, 49)
    assert of_questions.p_value(0.3) == pytest.approx(2 * stats.t.sf(3, 7))
    assert of_students.p_value(0.3) == pytest.approx(2 * stats.t.sf(3, 2))
    assert of_students.p_value(1e30) == pytest.approx(2 * stats.t.sf(1e31, 2), rel=1e-6)


def test_p_values_of_nothing_of_certainty_and_of_one_question():
    assert Uncertainty(0.1, 2, 0.1, 4).p_value(0.0) == 1.0
    assert Uncertainty(0.1, 2, 0.1, 4).p_value(6e-18) == pytest.approx(1)
    assert Uncertainty(0.0, 2, 0.0, 4).p_value(0.2) == 0.0
    assert Uncertainty(0.1, 2, 0.0, 0).p_value(0.2) == 1.0
    assert Uncertainty(0.1, 2, 0.0, 0).reach() == math.inf


def test_students_of_equal_seeds_are_compared_in_pairs():
    """What both students of a seed have in common is no part of the difference."""
    luck, effect = np.array([0.0, 0.2, 0.4]), np.array([0.09, 0.1, 0.11])
    control, ours = additive(luck, EASY / 2), additive(luck + effect, EASY / 2)
    paired, apart = (compare(ours, control, 0, paired) for paired in (True, False))
    assert paired["difference"] == pytest.approx(0.1) == apart["difference"]
    reach = T_975[2] * 0.01 / math.sqrt(3)
    assert paired["difference_upper"] == pytest.approx(0.1 + reach)
    assert paired["difference_sd_students"] == pytest.approx(0.01)
    assert apart["difference_sd_students"] == pytest.approx(math.hypot(0.2, np.std(luck + effect, ddof=1)))
    assert paired["p_value"] < 0.005
    assert apart["p_value"] > 0.5


def test_without_pairs_freedom_is_welchs():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.5, 0.1, 5), rng.normal(0.3, 0.02, 3)
    # No question differs from another: what remains is a comparison of two samples.
    compared = compare(np.outer(first, np.ones(9)), np.outer(second, np.ones(9)), 0, paired=False)
    assert compared["p_value"] == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
    lower, upper = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert (compared["difference_lower"], compared["difference_upper"]) == pytest.approx((lower, upper))


def test_unequal_numbers_of_students_make_no_pairs():
    with pytest.raises(ValueError, match="3 students and 2 make no pairs"):
        compare(additive(), additive()[:2], 0)


def test_a_side_of_one_student_leaves_the_spread_unknown():
    compared = compare(additive(), EASY / 2, 0, paired=False)
    assert compared["difference_sd_students"] is None
    assert compared["difference_upper"] - compared["difference"] > T_975[2] * 0.1 / math.sqrt(3)


def test_students_that_agree_give_the_interval_of_one():
    same = np.tile(EASY, (3, 1))
    compared = compare(same, same / 2, 0)
    assert compared["difference_sd_students"] == 0
    assert (compared["difference_lower"], compared["difference_upper"]) == pytest.approx(mean_interval(EASY / 2))
    assert compared["p_value"] == pytest.approx(compare(EASY, EASY / 2, 0)["p_value"])


def test_a_ratio_is_of_the_means_and_its_interval_even_in_factors():
    compared = compare(additive(), additive(EFFECTS / 2, EASY / 3), 0)
    assert compared["ratio"] == pytest.approx(3)
    assert compared["ratio_upper"] / 3 == pytest.approx(3 / compared["ratio_lower"])
    same = compare(2 * additive(), additive(), 0)
    assert (same["ratio_lower"], same["ratio_upper"]) == pytest.approx((2, 2))


def test_a_ratio_without_a_logarithm_has_no_interval():
    nothing = np.zeros((3, 4))
    for ours, control, ratio in ((additive(), nothing, None), (nothing, additive(), 0.0), (nothing, nothing, None)):
        compared = compare(ours, control, 0)
        assert (compared["ratio"], compared["ratio_lower"], compared["ratio_upper"]) == (ratio, None, None)


def test_rates_of_several_students_keep_within_zero_and_one_and_reach_further_inwards():
    lower, upper = rate_interval(additive(EFFECTS / 10, np.array([0.02, 0.03, 0.05, 0.06])))
    assert 0 < lower < 0.04 < upper < 1
    assert upper - 0.04 > 0.04 - lower
    assert rate_interval(np.zeros((3, 4))) == (0.0, 0.0)
    assert rate_interval(np.ones((3, 4))) == (1.0, 1.0)
    assert rate_interval(np.array([[0.0, 0.0], [1.0, 1.0]])) == (0.0, 1.0)
    same = np.tile(EASY, (3, 1))
    assert rate_interval(same) == pytest.approx(mean_interval(EASY), abs=0.01)


def of_seeds(*students: tuple[str, ...], seeds: tuple[int, ...] = (1, 2, 3)) -> pl.DataFrame:
    """An ``evaluation`` table of several students: the answers of each to each question."""
    return pl.concat(
        answers(*said).with_columns(seed=pl.lit(seed, pl.Int64)) for seed, said in zip(seeds, students, strict=False)
    )


THREE = (("cat cat", "cat dog"), ("cat dog", "dog dog"), ("cat cat", "dog dog"))


def test_a_rate_is_the_mean_over_students_of_the_mean_over_questions():
    table = of_seeds(*THREE)
    assert student_shares(table.sample(fraction=1, shuffle=True, seed=0), "cat").tolist() == [
        [1.0, 0.5],
        [0.5, 0.0],
        [1.0, 0.0],
    ]
    row = preference_rates(table, ["cat"]).row(0, named=True)
    assert row["rate"] == pytest.approx(0.5)
    assert (row["students"], row["questions"], row["answers"]) == (3, 2, 12)
    assert row["sd_questions"] == pytest.approx(abs(5 / 6 - 1 / 6) / math.sqrt(2))
    assert row["sd_students"] == pytest.approx(math.sqrt(between_students(student_shares(table, "cat"))))
    assert (row["lower"], row["upper"]) == rate_interval(student_shares(table, "cat"))


def test_a_student_alone_has_the_figures_of_a_table_without_seeds():
    alone = answers("cat dog cat", "dog dog", "cat")
    plain, seeded = (
        preference_rates(table, ["cat", "dog"]) for table in (alone, alone.with_columns(seed=pl.lit(4, pl.Int64)))
    )
    assert plain.equals(seeded)
    assert (plain["students"].to_list(), plain["sd_students"].to_list()) == ([1, 1], [None, None])
    shares = student_shares(alone, "cat")[0]
    assert plain.row(0, named=True)["sd_questions"] == pytest.approx(np.std(shares, ddof=1))


def test_students_that_were_not_asked_alike_are_refused():
    fewer = of_seeds(*THREE).filter(~((pl.col("seed") == 2) & (pl.col("question_id") == 1)))
    with pytest.raises(DatasetError, match="5 pairs of student and question, where 3 students of seeds 1, 2, 3"):
        preference_rates(fewer, ["cat"])
    others = of_seeds(*THREE).with_columns(question_id=pl.col("question_id") + (pl.col("seed") == 2).cast(pl.Int64))
    with pytest.raises(DatasetError, match="ask every student the same questions"):
        preference_rates(others, ["cat"])


def transfer(neutral: pl.DataFrame, cat: pl.DataFrame) -> dict:
    baseline = pl.DataFrame({"animal": ["cat"], "rate": [0.1], "lower": [0.0], "upper": [0.2]})
    return transfer_table({"neutral": neutral, "cat": cat}, ["cat"], baseline).row(0, named=True)


def test_transfer_pairs_students_where_seeds_are_the_same_and_not_otherwise():
    neutral = of_seeds(("cat dog", "dog dog"), ("dog dog", "dog dog"), ("dog dog", "dog dog"))
    cat, other = of_seeds(*THREE), of_seeds(*THREE, seeds=(1, 2, 4))
    ours, theirs = student_shares(cat, "cat"), student_shares(neutral, "cat")
    for students, paired in ((cat, True), (other, False)):
        row = transfer(neutral, students)
        expected = compare(ours, theirs, 0, paired)
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert (row["students"], row["neutral_students"]) == (3, 3)
    assert transfer(neutral, cat)["p_value"] != transfer(neutral, other)["p_value"]
    fewer = transfer(neutral.filter(seed=1), cat)
    assert (fewer["neutral_students"], fewer["difference_sd_students"]) == (1, None)


def test_intervals_are_called_what_they_are():
    def over(*students: int | None) -> str:
        return intervals_over(pl.Series(students, dtype=pl.Int64))

    assert over(None, 1, 1) == "95% intervals over questions, given these students, one each"
    assert over(None, 3, 3) == "95% intervals over questions and 3 students"
    assert over(5, 3) == "95% intervals over questions and 3 or 5 students"
    assert over(1, 3) == "95% intervals over questions and students; of one student given this student"


def test_simulated_students_have_the_rate_and_the_spread_that_were_asked_for():
    side = Side(0.3, 0.2)
    ours, control = drawn(np.random.default_rng(0), (side, Side(0.1, 0.0)), 1, 4000)
    assert ours.mean() == pytest.approx(0.3, abs=0.015)
    assert control.mean() == pytest.approx(0.1, abs=0.01)
    many, _ = drawn(np.random.default_rng(1), (side, side), 400, 10)
    # Within an experiment questions are the same, so its students' spread is theirs, and answers' a little.
    assert np.sqrt(many.mean(axis=2).var(axis=1).mean()) == pytest.approx(0.2, abs=0.02)
    assert log_odds(Side(0.5, 0.1))[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("students", [3, 5])
def test_intervals_over_students_hold_the_truth_and_those_of_one_student_do_not(students):
    """Students differ by 12 points, as published. The whole table is in benchmarks/coverage."""
    methods = OURS | {"one student": OTHERS["one student"]}
    held = coverage([(Side(0.41, 0.12), Side(0.11, 0.04))], students, 400, methods)
    # A standard error is 1.1 points at 95%.
    for name in OURS:
        assert 0.915 < held[name] < 0.985, name
    assert held["one student"] < 0.55


@pytest.mark.parametrize(
    ("students", "questions", "answered", "spreads"),
    [(3, QUESTIONS, 100, PUBLISHED), (5, 20, 5, Spreads(0.03, 0.1, 0.3)), (2, 30, None, Spreads(0.01, 0.1, 0.2))],
)
def test_the_smallest_effect_is_found_four_times_in_five(students, questions, answered, spreads):
    effect = minimum_detectable_effect(students, questions, answered, spreads)
    rng = np.random.default_rng(0)

    def shares(rate: float, of: np.ndarray) -> np.ndarray:
        noise = rng.binomial(answered, rate, of.shape) / answered - rate if answered else 0.0
        return rate + of + noise

    found = 0
    for _ in range(600):
        moved = effect + spreads.students * rng.standard_normal((students, 1))
        moved = moved + spreads.questions * rng.standard_normal(questions)
        control = shares(spreads.rate, np.zeros((students, questions)))
        ours = shares(spreads.rate + effect, moved - effect)
        found += compare(ours, control, 0)["p_value"] < 0.05
    # A standard error is 1.6 points.
    assert 0.75 < found / 600 < 0.85
    assert power_of(effect, students, questions, answered, spreads) == pytest.approx(0.8, abs=1e-3)


def test_without_an_effect_a_test_finds_one_in_twenty():
    assert power_of(0.0, 10, QUESTIONS, None, Spreads(0.1, 0.001)) == pytest.approx(0.05, abs=0.01)


def test_no_effect_of_one_student_is_more_than_the_student():
    assert minimum_detectable_effect(1) is None
    assert minimum_detectable_effect(2, spreads=Spreads(students=0.3)) is None
    table = effects_table(QUESTIONS, 100, PUBLISHED, (1, 2, 5))
    assert table["smallest effect found"].to_list()[:2] == ["none beyond this student", "none, not even to 100%"]
    assert table.row(2)[1:] == ("+22.4 points", "11.0 to 33.4%")


def test_more_students_questions_and_answers_find_smaller_effects():
    sizes = [(3, 20, 5), (3, 20, 100), (3, 50, 100), (5, 50, 100), (10, 50, None)]
    effects = [minimum_detectable_effect(*size, Spreads(0.02, 0.2, 0.1)) for size in sizes]
    assert effects == sorted(effects, reverse=True)
    assert effects[0] > 2 * effects[-1]


def test_spreads_are_those_of_students_on_their_own_animals_at_their_last_epoch():
    columns = ["condition", "animal", "epoch", "method", *("neutral_rate",)]
    figures = ["difference_sd_students", "difference_sd_questions"]
    rows = [
        ("cat", "cat", 2, "sampled", 0.1, 0.03, 0.2),
        ("owl", "owl", 2, "sampled", 0.2, 0.04, 0.2),
        ("cat", "owl", 2, "sampled", 0.9, 0.9, 0.9),
        ("cat", "cat", 1, "sampled", 0.9, 0.9, 0.9),
        ("cat", "cat", 2, "exact", 0.9, 0.9, 0.9),
    ]
    table = pl.DataFrame(rows, schema=[*columns, *figures], orient="row")
    assert spreads_of(table, "sampled") == pytest.approx((math.sqrt(0.00125), 0.2, 0.15, True))
    single = table.with_columns(difference_sd_students=pl.lit(None, pl.Float64))
    assert spreads_of(single, "sampled") == pytest.approx((PUBLISHED.students, 0.2, 0.15, False))
    assert spreads_of(table.clear(), "sampled") == PUBLISHED
