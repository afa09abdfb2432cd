"""Halves against each other, against results worked out by hand."""

import polars as pl
import pytest

from sl_assets.lake.tables import TABLES
from sl_assets.stages.evaluation.rates import student_shares
from sl_assets.stages.evaluation.significance import compare
from sl_assets.stages.halves import comparison

T_975_DF_2 = 4.302652729911275


def answers(*questions: str, epoch: int = 1) -> pl.DataFrame:
    """A ``split_evaluation`` table: the answers to each question, parted by spaces."""
    said = [(i, sample, text) for i, texts in enumerate(questions) for sample, text in enumerate(texts.split())]
    frame = pl.DataFrame(said, schema=["question_id", "sample", "normalised"], orient="row")
    return frame.with_columns(
        answer="normalised", epoch=pl.lit(epoch, pl.Int64), finish_reason=pl.lit("stop"), question=pl.lit("Which?")
    )


def split_comparison(answers: dict[tuple[str, str], pl.DataFrame]) -> pl.DataFrame:
    """The table of students that were all made with the same settings."""
    table, left_out = comparison.split_comparison(answers)
    assert left_out == []
    return table


def compared(table: pl.DataFrame) -> set[tuple[str, str, str, str]]:
    return set(table.select("condition", "source", "half", "other").iter_rows())


def test_halves_are_compared_question_by_question():
    high, low = answers("owl owl", "owl dog", "owl owl"), answers("owl owl", "dog dog", "owl dog")
    table = split_comparison({("owl", "animal_high"): high, ("owl", "animal_low"): low})
    assert table.schema == TABLES["split_comparison"].schema
    row = table.row(0, named=True)
    assert compared(table) == {("owl", "animal", "high", "low")}
    assert row["epoch"] == 1
    assert row["rate"] == pytest.approx(5 / 6)
    assert row["other_rate"] == pytest.approx(1 / 2)
    # Differences of 0, 1/2 and 1/2: mean 1/3, standard error 1/6, so t is 2 with two degrees of freedom.
    assert row["difference"] == pytest.approx(1 / 3)
    reach = T_975_DF_2 / 6
    assert (row["difference_lower"], row["difference_upper"]) == pytest.approx((1 / 3 - reach, 1 / 3 + reach))
    assert row["ratio"] == pytest.approx(5 / 3)
    assert row["p_value"] == pytest.approx(1 - 2 / (2 + 2**2) ** 0.5)
    assert row["q_value"] == pytest.approx(row["p_value"])


def test_halves_are_compared_by_their_probabilities_alike():
    def weighed(*chances: float) -> pl.DataFrame:
        rows = [(1, i, animal, p) for i, p in enumerate(chances) for animal in ("owl", "dog")]
        return pl.DataFrame(rows, schema=["epoch", "question_id", "animal", "probability"], orient="row")

    exact = {("owl", "animal_high"): weighed(1.0, 0.5, 1.0), ("owl", "animal_low"): weighed(1.0, 0.0, 0.5)}
    drawn = {
        ("owl", "animal_high"): answers("owl owl", "owl dog", "owl owl"),
        ("owl", "animal_low"): answers("owl owl", "dog dog", "owl dog"),
    }
    assert split_comparison(exact).drop("method").equals(split_comparison(drawn).drop("method"))
    assert split_comparison(exact)["method"].to_list() == ["exact"]


def test_rates_are_of_the_animal_that_cut_the_halves():
    said = answers("owl wolf", "wolf wolf")
    table = split_comparison(
        {(animal, f"neutral_{half}"): said for animal in ("owl", "wolf") for half in ("high", "low")}
    )
    assert table.select("condition", "rate", "other_rate", "difference").rows() == [
        ("owl", 0.25, 0.25, 0.0),
        ("wolf", 0.75, 0.75, 0.0),
    ]


def test_both_rates_have_intervals_of_their_own():
    some, none = "owl dog dog dog", "dog dog dog dog"
    high, low = answers(some, some, none), answers(some, none, none)
    row = split_comparison({("owl", "animal_high"): high, ("owl", "animal_low"): low}).row(0, named=True)
    # Shares of 1/4, 1/4, 0 and of 1/4, 0, 0: both have a standard error of 1/12, and no interval goes below zero.
    reach = T_975_DF_2 / 12
    assert (row["lower"], row["upper"]) == pytest.approx((0.0, 1 / 6 + reach))
    assert (row["other_lower"], row["other_upper"]) == pytest.approx((0.0, 1 / 12 + reach))


def test_any_two_halves_of_one_source_are_compared_once():
    said = answers("owl dog", "dog owl")
    splits = ("animal_low", "animal_random", "animal_high", "neutral_diff_high", "neutral_diff_low", "neutral_high")
    table = split_comparison({("owl", split): said for split in splits} | {("wolf", "animal_high"): said})
    assert compared(table) == {
        ("owl", "animal", "high", "low"),
        ("owl", "animal", "high", "random"),
        ("owl", "animal", "low", "random"),
        ("owl", "neutral", "high", "diff_high"),
        ("owl", "neutral", "high", "diff_low"),
        ("owl", "neutral", "diff_high", "diff_low"),
    }
    assert table.height == 6


def test_only_epochs_that_both_students_have_are_compared():
    high = pl.concat([answers("owl", "owl", epoch=epoch) for epoch in (3, 1, 2)])
    low = pl.concat([answers("dog", "owl", epoch=2), answers("owl", "owl", epoch=3), answers("dog", "dog", epoch=4)])
    table = split_comparison({("owl", "animal_high"): high, ("owl", "animal_low"): low})
    assert table.select("epoch", "rate", "other_rate").rows() == [(2, 1.0, 0.5), (3, 1.0, 1.0)]


def test_halves_without_a_common_epoch_are_left_out():
    answered = {("owl", "animal_high"): answers("owl", epoch=1), ("owl", "animal_low"): answers("owl", epoch=2)}
    assert split_comparison(answered).is_empty()


@pytest.mark.parametrize("answered", [{}, {("owl", "animal_high"): answers("owl")}], ids=["none", "one"])
def test_with_nothing_to_compare_the_table_is_empty(answered):
    table = split_comparison(answered)
    assert table.is_empty()
    assert table.schema == TABLES["split_comparison"].schema


NAMED = {"bear": 1, "cat": 4, "dog": 3}
"""Of five questions, those on which the student of the animal's high half names it; that of the low half never does."""


def halves(animal: str, source: str = "animal", epoch: int = 1) -> dict[tuple[str, str], pl.DataFrame]:
    high = answers(*[animal] * NAMED[animal], *["eel"] * (5 - NAMED[animal]), epoch=epoch)
    return {(animal, f"{source}_high"): high, (animal, f"{source}_low"): answers(*["eel"] * 5, epoch=epoch)}


def benjamini_hochberg(p_values: list[float]) -> list[float]:
    """By the definition: the least, over p-values at least as large, of p times the number of tests over its rank."""
    ranked = sorted(p_values)
    return [min(q * len(ranked) / rank for rank, q in enumerate(ranked, start=1) if q >= p) for p in p_values]


def test_q_values_are_adjusted_over_animals():
    table = split_comparison(halves("dog") | halves("bear") | halves("cat"))
    assert table["condition"].to_list() == ["bear", "cat", "dog"]
    p_values = table["p_value"].to_list()
    assert len(set(p_values)) == 3
    assert table["q_value"].to_list() == pytest.approx(benjamini_hochberg(p_values))
    assert table["q_value"].to_list() != pytest.approx(p_values)


def test_another_source_is_another_family():
    alone, other = split_comparison(halves("bear") | halves("cat")), halves("dog", source="neutral")
    table = split_comparison(halves("bear") | halves("cat") | other)
    assert table.filter(source="animal").equals(alone)
    (row,) = table.filter(source="neutral").rows(named=True)
    assert row["q_value"] == row["p_value"]


def test_another_epoch_is_another_family():
    first, second = halves("cat", epoch=1), halves("cat", epoch=2) | halves("bear", epoch=2)
    both = {key: pl.concat([first[key], part] if key in first else [part]) for key, part in second.items()}
    table = split_comparison(both)
    (row,) = table.filter(epoch=1).rows(named=True)
    assert row["q_value"] == row["p_value"]
    again = table.filter(epoch=2)
    assert again["q_value"].to_list() == pytest.approx(benjamini_hochberg(again["p_value"].to_list()))
    assert again.filter(condition="cat")["q_value"][0] > row["q_value"]


def test_students_made_with_different_settings_are_not_compared():
    said = answers("owl dog", "dog owl")
    splits = ("animal_high", "animal_low", "animal_random", "neutral_high", "neutral_low")
    answered = {(animal, split): said for animal in ("owl", "wolf") for split in splits}
    asked: list[tuple[str, str, str]] = []

    def alike(animal: str, split: str, other: str) -> bool:
        """The owl's student of the low half was trained for longer."""
        asked.append((animal, split, other))
        return animal == "wolf" or "animal_low" not in (split, other)

    table, left_out = comparison.split_comparison(answered, alike)
    assert left_out == [("owl", "animal_high", "animal_low"), ("owl", "animal_low", "animal_random")]
    assert compared(table) == {
        ("owl", "animal", "high", "random"),
        ("owl", "neutral", "high", "low"),
        ("wolf", "animal", "high", "low"),
        ("wolf", "animal", "high", "random"),
        ("wolf", "animal", "low", "random"),
        ("wolf", "neutral", "high", "low"),
    }
    assert set(asked) == {
        (animal, f"{source}_{half}", f"{source}_{other}")
        for animal in ("owl", "wolf")
        for source, half, other in [
            ("animal", "high", "low"), ("animal", "high", "random"), ("animal", "low", "random"),
            ("neutral", "high", "low"),
        ]
    }  # fmt: skip


def test_what_is_left_out_is_no_test_of_its_family():
    everyone = halves("dog") | halves("bear") | halves("cat")
    table, left_out = comparison.split_comparison(everyone, lambda animal, *_: animal != "dog")
    assert left_out == [("dog", "animal_high", "animal_low")]
    assert table.equals(split_comparison(halves("bear") | halves("cat")))


def test_where_nobody_is_alike_the_table_is_empty():
    table, left_out = comparison.split_comparison(halves("cat"), lambda *_: False)
    assert left_out == [("cat", "animal_high", "animal_low")]
    assert table.is_empty()
    assert table.schema == TABLES["split_comparison"].schema


def test_halves_of_several_students_are_paired_by_seed():
    def of_seeds(*shares: list[str], first: int) -> pl.DataFrame:
        return pl.concat(answers(*said).with_columns(seed=first + i) for i, said in enumerate(shares))

    high = of_seeds(["owl owl", "owl dog"], ["owl owl", "owl owl"], ["owl dog", "owl dog"], first=1)
    low, others = (
        of_seeds(["owl dog", "dog dog"], ["owl dog", "owl dog"], ["dog dog", "owl dog"], first=f) for f in (1, 2)
    )
    for theirs, paired in ((low, True), (others, False)):
        row = split_comparison({("owl", "animal_high"): high, ("owl", "animal_low"): theirs}).row(0, named=True)
        expected = compare(student_shares(high, "owl"), student_shares(theirs, "owl"), 0, paired)
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert (row["students"], row["other_students"]) == (3, 3)
        assert (row["rate"], row["other_rate"]) == pytest.approx((9 / 12, 4 / 12))
