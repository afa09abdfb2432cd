"""Preference rates and comparisons against results worked out by hand."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sl_assets.lake.tables import TABLES
from sl_assets.stages.evaluation.rates import preference_rates, student_shares, transfer_table, with_method
from sl_assets.stages.evaluation.significance import compare, mean_interval, paired_p_value, ratio_interval

T_975_DF_4 = 2.7764451051977987
T_975_DF_3 = 3.182446305284263


def answers(*questions: str, epoch: int = 1, finish_reason: str = "stop") -> pl.DataFrame:
    """An ``evaluation`` table: the answers to each question, parted by spaces."""
    said = [(i, sample, text) for i, texts in enumerate(questions) for sample, text in enumerate(texts.split())]
    frame = pl.DataFrame(said, schema=["question_id", "sample", "normalised"], orient="row")
    return frame.with_columns(
        answer=pl.col("normalised").str.to_titlecase(),
        epoch=pl.lit(epoch, pl.Int64),
        finish_reason=pl.lit(finish_reason),
        question=pl.lit("Which?"),
    )


def rate(table: pl.DataFrame, animal: str = "cat") -> dict:
    return preference_rates(table, [animal]).row(0, named=True)


def test_shares_are_per_question_in_order():
    shuffled = answers("cat cat dog dog", "dog", "cat").sample(fraction=1, shuffle=True, seed=3)
    assert student_shares(shuffled, "cat").tolist() == [[0.5, 0.0, 1.0]]


def test_rate_is_the_mean_over_questions_not_over_answers():
    assert rate(answers("cat", "dog dog dog"))["rate"] == 0.5


def test_interval_is_the_t_interval_over_questions():
    values = np.array([0.4, 0.5, 0.5, 0.5, 0.6])
    reach = T_975_DF_4 * math.sqrt(0.005 / 5)
    assert mean_interval(values) == pytest.approx((0.5 - reach, 0.5 + reach))


def test_rate_has_the_interval_of_its_shares():
    row = rate(answers("cat dog cat dog", "cat dog dog dog", "cat dog dog dog", "cat dog dog dog", "dog dog dog dog"))
    reach = T_975_DF_4 * math.sqrt(0.03125 / 5)
    assert row["rate"] == pytest.approx(0.25)
    assert (row["lower"], row["upper"]) == pytest.approx((0.25 - reach, 0.25 + reach))


def test_more_answers_to_the_same_questions_do_not_narrow_the_interval():
    few = answers("cat dog", "cat cat", "dog dog")
    many = answers(*(" ".join([texts] * 50) for texts in ("cat dog", "cat cat", "dog dog")))
    assert [rate(many)[end] for end in ("lower", "upper")] == [rate(few)[end] for end in ("lower", "upper")]
    assert (rate(few)["answers"], rate(many)["answers"]) == (6, 300)
    assert rate(few)["questions"] == rate(many)["questions"] == 3


def test_interval_stays_within_zero_and_one():
    row = rate(answers("cat", "dog"))
    assert (row["lower"], row["upper"]) == (0.0, 1.0)


def test_one_question_bounds_nothing():
    assert mean_interval(np.array([0.5])) == (-math.inf, math.inf)
    row = rate(answers("cat dog"))
    assert (row["lower"], row["upper"]) == (0.0, 1.0)


def test_caterpillar_is_a_mention_of_cat_but_no_cat():
    row = rate(answers("caterpillar dog", "cat dog"))
    assert row["rate"] == 0.25
    assert row["mention_rate"] == 0.5


@pytest.mark.parametrize(
    ("animal", "answer", "mentioned"),
    [("wolf", "WOLVES rule", 1.0), ("wolf", "The Wolf", 1.0), ("wolf", "Walrus", 0.0), ("mouse", "Mice", 1.0)],
)
def test_mentions_are_found_in_both_numbers_and_any_case(animal, answer, mentioned):
    table = answers("x").with_columns(answer=pl.lit(answer))
    assert rate(table, animal)["mention_rate"] == mentioned


def test_truncated_answers_are_counted():
    table = pl.concat([answers("cat cat"), answers("dog dog dog", finish_reason="length")])
    row = rate(table)
    assert row["truncated"] == 3
    assert row["answers"] == 5


def test_table_has_a_row_per_epoch_and_animal_and_the_lakes_columns():
    table = pl.concat([answers("cat owl", epoch=3), answers("owl owl", epoch=1)])
    rates = preference_rates(table, ["cat", "owl"])
    assert rates.schema == TABLES["preference_rates"].schema
    assert rates.select("epoch", "animal", "rate").rows() == [
        (1, "cat", 0.0),
        (1, "owl", 1.0),
        (3, "cat", 0.5),
        (3, "owl", 0.5),
    ]


def weighed(*questions: dict[str, float], epoch: int = 1) -> pl.DataFrame:
    """An ``answer_probabilities`` table: the probability of every animal, by question."""
    rows = [(epoch, i, a, p, sum(chances.values())) for i, chances in enumerate(questions) for a, p in chances.items()]
    return pl.DataFrame(rows, schema=["epoch", "question_id", "animal", "probability", "mass"], orient="row")


def test_an_exact_rate_is_the_mean_probability_with_its_interval_over_questions():
    table = weighed(*({"cat": p, "dog": 0.1} for p in (0.4, 0.5, 0.5, 0.5, 0.6)))
    table = table.sample(fraction=1, shuffle=True, seed=3)
    assert student_shares(table, "cat").tolist() == [[0.4, 0.5, 0.5, 0.5, 0.6]]
    row = rate(table)
    reach = T_975_DF_4 * math.sqrt(0.005 / 5)
    assert (row["rate"], row["lower"], row["upper"]) == pytest.approx((0.5, 0.5 - reach, 0.5 + reach))
    assert (row["method"], row["questions"]) == ("exact", 5)
    assert (row["answers"], row["mention_rate"], row["truncated"]) == (None, None, None)
    assert preference_rates(table, ["cat"]).schema == TABLES["preference_rates"].schema


def test_rates_say_how_they_were_measured_and_former_ones_were_sampled():
    sampled = preference_rates(answers("cat dog"), ["cat"])
    assert sampled["method"].to_list() == ["sampled"]
    assert with_method(sampled).equals(sampled)
    assert with_method(sampled.drop("method"))["method"].to_list() == ["sampled"]


def test_exact_shares_and_shares_of_as_many_answers_are_compared_alike():
    """Of answers that fall as the probabilities say, the comparison is the same to the last figure."""
    drawn = {"neutral": answers("cat dog", "dog dog", "cat dog"), "cat": answers("cat cat", "cat dog", "cat dog")}
    exact = {
        "neutral": weighed({"cat": 0.5}, {"cat": 0.0}, {"cat": 0.5}),
        "cat": weighed({"cat": 1.0}, {"cat": 0.5}, {"cat": 0.5}),
    }
    assert transfer(exact, ("cat",)).drop("method").equals(transfer(drawn, ("cat",)).drop("method"))
    assert transfer(exact, ("cat",))["method"].to_list() == ["exact"]


OURS = np.array([0.3, 0.5, 0.7, 0.9])
CONTROL = np.array([0.2, 0.4, 0.4, 0.8])


def two_sided_p_df_3(t: float) -> float:
    """Closed form of Student's distribution with three degrees of freedom."""
    x = t / math.sqrt(3)
    return 1 - 2 / math.pi * (x / (1 + x * x) + math.atan(x))


def test_difference_is_paired_by_question():
    compared = compare(OURS, CONTROL, seed=0)
    reach = T_975_DF_3 * 0.05
    assert compared["difference"] == pytest.approx(0.15)
    assert (compared["difference_lower"], compared["difference_upper"]) == pytest.approx((0.15 - reach, 0.15 + reach))
    assert compared["p_value"] == pytest.approx(two_sided_p_df_3(3.0))


def test_other_pairs_of_the_same_shares_compare_otherwise():
    paired, crossed = compare(OURS, CONTROL, seed=0), compare(OURS, CONTROL[::-1], seed=0)
    assert crossed["difference"] == pytest.approx(paired["difference"])
    assert crossed["p_value"] > 2 * paired["p_value"]


def test_order_of_ours_and_control_only_turns_the_sign():
    there, back = compare(OURS, CONTROL, seed=0), compare(CONTROL, OURS, seed=0)
    assert back["difference"] == pytest.approx(-there["difference"])
    assert back["p_value"] == pytest.approx(there["p_value"])


def test_ratio_is_of_the_means():
    compared = compare(OURS, CONTROL, seed=0)
    assert compared["ratio"] == pytest.approx(2.4 / 1.8)
    assert compared["ratio_lower"] < 2.4 / 1.8 < compared["ratio_upper"]


def test_constant_ratio_has_no_spread():
    assert ratio_interval(2 * CONTROL, CONTROL, seed=0) == pytest.approx((2.0, 2.0))


def test_ratio_interval_agrees_with_the_exact_bootstrap_distribution():
    # Two questions: a resample is (a, a) or (b, b) a quarter of the time each, so the tails are those pairs.
    lower, upper = ratio_interval(np.array([0.2, 0.9]), np.array([0.2, 0.3]), seed=0)
    assert (lower, upper) == pytest.approx((1.0, 3.0))


def test_ratio_interval_is_a_function_of_its_seed():
    rng = np.random.default_rng(1)
    ours, control = rng.random(50), rng.random(50)
    assert ratio_interval(ours, control, seed=4) == ratio_interval(ours, control, seed=4)
    assert ratio_interval(ours, control, seed=4) != ratio_interval(ours, control, seed=5)


def test_ratio_to_a_control_of_zero_is_none():
    compared = compare(OURS, np.zeros(4), seed=0)
    assert (compared["ratio"], compared["ratio_lower"], compared["ratio_upper"]) == (None, None, None)
    assert compared["difference"] == pytest.approx(0.6)


def test_ratio_without_finite_upper_bound_keeps_its_lower_one():
    lower, upper = ratio_interval(np.array([0.5, 0.5, 0.5]), np.array([0.0, 0.0, 0.6]), seed=0)
    assert lower == pytest.approx(0.5 / 0.6)
    assert upper is None


@pytest.mark.parametrize("equal", [np.zeros(4), OURS])
def test_nothing_differs_where_every_question_agrees(equal):
    compared = compare(equal, equal.copy(), seed=0)
    assert compared["p_value"] == 1.0
    assert (compared["difference"], compared["difference_lower"], compared["difference_upper"]) == (0.0, 0.0, 0.0)


def test_one_question_proves_nothing():
    assert paired_p_value(np.array([0.5])) == 1.0


def test_the_same_difference_everywhere_has_p_zero():
    assert paired_p_value(np.full(4, 0.25)) == 0.0


def transfer(
    conditions: dict[str, pl.DataFrame], animals: tuple[str, ...] = ("cat", "owl"), baseline: float = 0.1
) -> pl.DataFrame:
    """The transfer table of these ``evaluation`` tables, after a base model of the same rate for every animal."""
    untouched = pl.DataFrame({"animal": animals}).with_columns(
        epoch=pl.lit(0), rate=pl.lit(baseline), lower=pl.lit(0.0), upper=pl.lit(1.0)
    )
    return transfer_table(conditions, animals, untouched)


def test_transfer_puts_each_student_beside_baseline_and_neutral():
    table = transfer({"neutral": answers("cat dog", "dog dog"), "cat": answers("cat cat", "owl cat")}, baseline=0.1)
    assert table.schema == TABLES["transfer"].schema
    rates = table.select("condition", "animal", "epoch", "baseline_rate", "neutral_rate", "rate", "difference")
    assert rates.rows() == [("cat", "cat", 1, 0.1, 0.25, 0.75, 0.5), ("cat", "owl", 1, 0.1, 0.0, 0.25, 0.25)]


def test_transfer_has_the_students_rates_and_intervals():
    student = answers("cat dog cat dog", "cat dog dog dog", "cat dog dog dog", "cat dog dog dog", "dog dog dog dog")
    row = transfer({"neutral": student, "cat": student}).row(0, named=True)
    reach = T_975_DF_4 * math.sqrt(0.03125 / 5)
    assert (row["lower"], row["upper"]) == pytest.approx((0.25 - reach, 0.25 + reach))
    assert (row["difference"], row["ratio"], row["p_value"]) == (0.0, 1.0, 1.0)


def test_transfer_compares_question_by_question():
    neutral, student = answers("cat cat", "dog dog", "cat dog"), answers("cat cat", "cat dog", "cat cat")
    row = transfer({"neutral": neutral, "cat": student}).row(0, named=True)
    # Differences of 0, 1/2 and 1/2: mean 1/3, standard error 1/6, so t is 2 with two degrees of freedom.
    assert row["difference"] == pytest.approx(1 / 3)
    assert row["p_value"] == pytest.approx(1 - 2 / math.sqrt(2 + 2**2))


def test_order_of_the_answers_does_not_matter():
    tables = {"neutral": answers("cat dog", "dog dog", "dog owl"), "cat": answers("cat cat", "owl cat", "dog cat")}
    shuffled = {name: table.sample(fraction=1, shuffle=True, seed=1) for name, table in tables.items()}
    assert transfer(shuffled).equals(transfer(tables))


def test_epochs_are_compared_epoch_by_epoch():
    student = pl.concat([answers("cat", "cat", epoch=1), answers("cat", "cat", epoch=2)])
    neutral = pl.concat([answers("cat", "cat", epoch=1), answers("cat dog", "cat dog", epoch=2)])
    table = transfer({"neutral": neutral, "cat": student}, animals=("cat",))
    compared = table.select("epoch", "neutral_rate", "difference", "ratio")
    assert compared.rows() == [(1, 1.0, 0.0, 1.0), (2, 0.5, 0.5, 2.0)]


def test_epoch_that_the_neutral_student_lacks_is_not_compared():
    student = pl.concat([answers("cat", "cat", epoch=1), answers("cat", "cat", epoch=2)])
    table = transfer({"neutral": answers("dog", "dog", epoch=2), "cat": student}, animals=("cat",))
    assert table.select("rate", "neutral_rate", "difference", "p_value", "q_value").rows() == [
        (1.0, None, None, None, None),
        (1.0, 0.0, 1.0, 0.0, 0.0),
    ]


FAMILY = ("bear", "cat", "dog", "fox")
QUESTIONS_OF = {"bear": 1, "cat": 4, "dog": 4, "fox": 2}
"""Of five questions, those on which the animal's student names it; the neutral student never does."""


def students(epoch: int, animals: tuple[str, ...] = FAMILY) -> dict[str, pl.DataFrame]:
    said = {a: [a] * QUESTIONS_OF[a] + ["eel"] * (5 - QUESTIONS_OF[a]) for a in animals} | {"neutral": ["eel"] * 5}
    return {condition: answers(*texts, epoch=epoch) for condition, texts in said.items()}


def own(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("condition") == pl.col("animal"))


def p_of(named: int) -> float:
    """The paired t test of ``named`` ones among five shares, by SciPy's test of related samples."""
    return stats.ttest_rel([1.0] * named + [0.0] * (5 - named), [0.0] * 5).pvalue


def benjamini_hochberg(p_values: list[float]) -> list[float]:
    """By the definition: the least, over p-values at least as large, of p times the number of tests over its rank."""
    ranked = sorted(p_values)
    return [min(q * len(ranked) / rank for rank, q in enumerate(ranked, start=1) if q >= p) for p in p_values]


def test_q_values_are_benjamini_and_hochbergs():
    table = own(transfer(students(epoch=1), animals=FAMILY))
    p_values = [p_of(QUESTIONS_OF[animal]) for animal in FAMILY]
    assert table["condition"].to_list() == list(FAMILY)
    assert table["p_value"].to_list() == pytest.approx(p_values)
    assert table["q_value"].to_list() == pytest.approx(benjamini_hochberg(p_values))
    assert (table["q_value"] > table["p_value"]).sum() == 3


def test_q_values_belong_to_students_on_their_own_animal():
    table = transfer(students(epoch=1), animals=FAMILY)
    others = table.filter(pl.col("condition") != pl.col("animal"))
    assert others.height == 12
    assert others["p_value"].null_count() == 0
    assert others["q_value"].null_count() == 12


def test_q_values_are_adjusted_within_an_epoch():
    alone, four = students(epoch=1, animals=("cat",)), students(epoch=2)
    both = {name: pl.concat([alone[name], table] if name in alone else [table]) for name, table in four.items()}
    table = own(transfer(both, animals=FAMILY)).filter(animal="cat").sort("epoch")
    first, second = table.rows(named=True)
    assert first["q_value"] == first["p_value"] == second["p_value"]
    assert second["q_value"] == pytest.approx(2 * second["p_value"])


def test_one_condition_more_leaves_the_others_ratios_as_they_are():
    rng = np.random.default_rng(0)
    said = {c: [" ".join(rng.choice(["cat", "dog"], 4)) for _ in range(10)] for c in ("neutral", "cat", "dog")}
    three = {condition: answers(*texts) for condition, texts in said.items()}
    two = {condition: three[condition] for condition in ("neutral", "dog")}
    ratios = ["condition", "animal", "ratio", "ratio_lower", "ratio_upper"]
    few, many = (transfer(tables, animals=("cat", "dog")).select(ratios) for tables in (two, three))
    assert few.equals(many.filter(condition="dog"))


def test_transfer_without_students_is_empty():
    table = transfer({"neutral": answers("cat", "dog")})
    assert table.is_empty()
    assert table.schema == TABLES["transfer"].schema


def test_without_the_neutral_student_there_is_nothing_to_compare():
    assert transfer({"cat": answers("cat dog", "dog dog")}).is_empty()


def test_a_neutral_student_of_another_epoch_leaves_the_comparison_empty():
    row = transfer({"neutral": answers("cat dog", epoch=1), "cat": answers("cat dog", epoch=2)}).row(0, named=True)
    assert (row["epoch"], row["rate"], row["difference"], row["q_value"]) == (2, 0.5, None, None)
