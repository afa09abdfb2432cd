"""Halves of tiny tables written by hand, and of many drawn at random."""

import random

import polars as pl
import pytest

from sl_assets.config.names import HALVES, SOURCES, SPLITS, condition_of, is_split, source_and_half
from sl_assets.stages.halves.cutting import (
    complements,
    cut_half,
    cut_to_size,
    equal_size,
    parting_problem,
    with_strata,
)

SEED = 5


def table(animal: list[float | None], neutral: list[float | None]) -> pl.DataFrame:
    """``projections`` at one layer: the n-th number of either source is of prompt n; None where it has no row."""
    rows = [
        (source, f"{source[0]}{i:03}", f"p{i}", value)
        for source, values in (("animal", animal), ("neutral", neutral))
        for i, value in enumerate(values)
        if value is not None
    ]
    schema = {"source": pl.String(), "row_id": pl.String(), "prompt_id": pl.String(), "projection": pl.Float32()}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(layer=2, dataset_version=pl.lit("v"))


def cut(rows: pl.DataFrame, split: str) -> tuple[list[str], float | None]:
    """Row ids of a half and where it was cut."""
    half, at = cut_half(rows, split, SEED, "owl")
    assert half.columns == ["row_id", "score"]
    return half["row_id"].to_list(), at


def random_table(seed: int) -> pl.DataFrame:
    """Up to twelve prompts with few different projections, so that most tie; some rows are missing."""
    rng = random.Random(seed)
    size = rng.randint(1, 12)
    projections = [[rng.choice([None, -1.0, 0.0, 0.0, 0.5, 1.0]) for _ in range(size)] for _ in range(2)]
    projections[0][0], projections[1][0] = 0.5, rng.choice([0.5, -1.0])
    return table(*projections).sample(fraction=1, shuffle=True, seed=seed)


EVEN = table([0.5, 3.0, -1.0, 2.0], [1.0, -2.0, 0.0, 4.0])
ODD = table([0.5, 3.0, -1.0, 2.0, 1.0], [-3.0, -2.0, -5.0, -4.0, -1.0])


@pytest.mark.parametrize(
    ("split", "row_ids", "at"),
    [
        ("animal_high", ["a001", "a003"], 1.25),
        ("animal_low", ["a000", "a002"], 1.25),
        ("neutral_high", ["n003", "n000"], 0.5),
        ("neutral_low", ["n002", "n001"], 0.5),
        ("animal_positive", ["a001", "a003", "a000"], 0.0),
        ("animal_negative", ["a002"], 0.0),
        ("neutral_positive", ["n003", "n000"], 0.0),
        ("neutral_negative", ["n002", "n001"], 0.0),
        # Animal minus neutral: -0.5, 5, -1, -2.
        ("animal_diff_high", ["a001", "a000"], -0.75),
        ("animal_diff_low", ["a002", "a003"], -0.75),
        ("neutral_diff_high", ["n001", "n000"], -0.75),
        ("neutral_diff_low", ["n002", "n003"], -0.75),
    ],
)
def test_halves_of_an_even_number_of_rows(split, row_ids, at):
    assert cut(EVEN, split) == (row_ids, at)


@pytest.mark.parametrize(
    ("split", "row_ids", "at"),
    [
        ("animal_high", ["a001", "a003"], 1.5),
        ("animal_low", ["a004", "a000", "a002"], 1.5),
        ("neutral_positive", [], 0.0),
        ("neutral_negative", ["n004", "n001", "n000", "n003", "n002"], 0.0),
        # Animal minus neutral: 3.5, 5, 4, 6, 2.
        ("animal_diff_high", ["a003", "a001"], 4.5),
        ("neutral_diff_low", ["n002", "n000", "n004"], 4.5),
    ],
)
def test_the_odd_row_goes_to_the_low_half(split, row_ids, at):
    assert cut(ODD, split) == (row_ids, at)


def test_rows_of_equal_projection_go_by_row_id_whatever_their_order():
    rows = table([1.0, 1.0, 2.0, 1.0, 1.0, 1.0], [0.0])
    for seed in range(5):
        shuffled = rows.sample(fraction=1, shuffle=True, seed=seed)
        assert cut(shuffled, "animal_high") == (["a002", "a000", "a001"], 1.0)
        assert cut(shuffled, "animal_low") == (["a003", "a004", "a005"], 1.0)


def test_a_projection_of_zero_is_negative():
    rows = table([0.0, 1.0, -0.0], [0.0])
    assert cut(rows, "animal_positive")[0] == ["a001"]
    assert sorted(cut(rows, "animal_negative")[0]) == ["a000", "a002"]


def test_a_single_row_is_low():
    rows = table([2.0], [1.0])
    assert cut(rows, "animal_high") == ([], 2.0)
    assert cut(rows, "animal_low") == (["a000"], 2.0)
    assert cut(rows, "animal_random") == ([], None)


def test_halves_of_no_rows_are_empty():
    rows = table([None, 1.0], [2.0, None])
    assert cut(rows, "animal_diff_high") == ([], None)
    assert cut(rows, "neutral_diff_low") == ([], None)


def test_rows_without_a_partner_are_in_neither_half_by_difference():
    rows = table([5.0, 1.0, None, 3.0], [None, 2.0, 9.0, 1.0])
    assert cut(rows, "animal_diff_high") == (["a003"], 0.5)
    assert cut(rows, "animal_diff_low") == (["a001"], 0.5)
    assert cut(rows, "neutral_diff_high") == (["n003"], 0.5)
    assert cut(rows, "neutral_diff_low") == (["n001"], 0.5)


def test_scores_are_what_halves_are_cut_by():
    scores = {split: cut_half(EVEN, split, SEED, "owl")[0]["score"].to_list() for split in SPLITS}
    assert scores["animal_high"] == [3.0, 2.0]
    assert scores["neutral_low"] == [0.0, -2.0]
    assert scores["neutral_diff_high"] == [5.0, -0.5]


def test_names_of_splits_have_a_source_and_a_half():
    assert len(SPLITS) == len(set(SPLITS)) == 14
    assert source_and_half("animal_diff_high") == ("animal", "diff_high")
    assert source_and_half("neutral_low") == ("neutral", "low")
    assert [source_and_half(split) for split in SPLITS] == [(source, half) for source in SOURCES for half in HALVES]


def test_a_source_is_the_dataset_of_a_condition():
    assert {source: condition_of(source, "owl") for source in SOURCES} == {"animal": "owl", "neutral": "neutral"}


def test_complements_are_of_the_same_source():
    others = {
        "high": "low",
        "low": "high",
        "positive": "negative",
        "negative": "positive",
        "diff_high": "diff_low",
        "diff_low": "diff_high",
        "random": None,
    }
    for source in ("animal", "neutral"):
        for half, other in others.items():
            assert complements(f"{source}_{half}") == ([f"{source}_{other}"] if other else [])


@pytest.mark.parametrize("split", [split for split in SPLITS if complements(split)])
def test_two_complementary_halves_divide_the_rows(split):
    for seed in range(60):
        rows = random_table(seed)
        ours, others = (set(cut(rows, name)[0]) for name in (split, *complements(split)))
        everything = rows.filter(source=source_and_half(split)[0])
        if "diff_" in split:
            both = everything["prompt_id"].is_in(rows.group_by("prompt_id").len().filter(len=2)["prompt_id"].implode())
            everything = everything.filter(both)
        assert ours | others == set(everything["row_id"])
        assert not ours & others
        if "high" in split:
            assert len(ours) == everything.height // 2


@pytest.mark.parametrize(("high", "low"), [("animal_high", "animal_low"), ("neutral_diff_high", "neutral_diff_low")])
def test_both_halves_are_cut_at_the_score_between_them(high, low):
    for seed in range(60):
        rows = random_table(seed)
        (above, at), (below, same) = (cut_half(rows, split, SEED, "owl") for split in (high, low))
        assert at == same
        assert above.filter(pl.col("score") < at).is_empty()
        assert below.filter(pl.col("score") > at).is_empty()


MANY = table([i / 7 % 1 for i in range(401)], [i / 5 % 1 for i in range(401)])


def drawn(rows: pl.DataFrame, split: str = "animal_random", seed: int = SEED, animal: str = "owl") -> set[int]:
    return {int(row_id[1:]) for row_id in cut_half(rows, split, seed, animal)[0]["row_id"]}


def test_a_random_half_has_half_of_the_rows_and_no_cut():
    half, at = cut_half(MANY, "animal_random", SEED, "owl")
    assert half.height == half["row_id"].n_unique() == 200
    assert at is None


def test_a_random_half_does_not_depend_on_the_order_of_rows():
    shuffled = MANY.sample(fraction=1, shuffle=True, seed=1)
    assert cut_half(shuffled, "animal_random", SEED, "owl")[0].equals(cut_half(MANY, "animal_random", SEED, "owl")[0])


def test_a_random_half_does_not_depend_on_projections_or_the_other_source():
    changed = MANY.with_columns(-pl.col("projection")).filter(
        (pl.col("source") == "animal") | (pl.col("prompt_id") < "p2")
    )
    assert drawn(changed) == drawn(MANY)


@pytest.mark.parametrize(
    "other", [{"animal": "wolf"}, {"seed": SEED + 1}, {"split": "neutral_random"}], ids=lambda other: next(iter(other))
)
def test_another_animal_seed_or_source_draws_rows_of_its_own(other):
    # Of two independent halves of 401 rows, 100 are common on average, with a deviation of 5.
    assert 75 < len(drawn(MANY) & drawn(MANY, **other)) < 125


def test_a_half_that_is_small_enough_is_used_whole():
    half = cut_half(MANY, "animal_high", SEED, "owl")[0]
    for size in (200, 201):
        used = cut_to_size(half, size, SEED, "owl", "animal_high")
        assert used.drop("used").equals(half)
        assert used["used"].all()


def test_a_larger_half_is_cut_to_size_at_random():
    half = cut_half(MANY, "animal_low", SEED, "owl")[0]
    cut_down = cut_to_size(half, 50, SEED, "owl", "animal_low")
    assert cut_down.drop("used").equals(half), "rows that are not used stay in the half"
    assert cut_down["used"].sum() == 50
    assert cut_down[:50]["used"].sum() < 50, "and not by rank"
    shuffled = cut_to_size(half.sample(fraction=1, shuffle=True, seed=3), 50, SEED, "owl", "animal_low")
    assert set(shuffled.filter("used")["row_id"]) == set(cut_down.filter("used")["row_id"])


@pytest.mark.parametrize(
    "other", [(SEED, "wolf", "animal_low"), (SEED + 1, "owl", "animal_low"), (SEED, "owl", "animal_high")]
)
def test_another_animal_seed_or_split_uses_other_rows(other):
    half = cut_half(MANY, "animal_low", SEED, "owl")[0]
    uses = [cut_to_size(half, 50, *names)["used"] for names in ((SEED, "owl", "animal_low"), other)]
    assert not uses[0].equals(uses[1])


def test_a_half_cut_to_nothing_uses_nothing():
    half = cut_half(EVEN, "animal_high", SEED, "owl")[0]
    assert cut_to_size(half, 0, SEED, "owl", "animal_high")["used"].to_list() == [False, False]


@pytest.mark.parametrize(
    ("splits", "size"),
    [
        (["animal_low"], 3),
        (["animal_high", "animal_low"], 2),
        (["animal_low", "neutral_random"], 2),
        (["animal_low", "animal_negative"], 3),
        (["animal_negative", "animal_low", "neutral_positive"], 3),
        (["animal_positive"], 4),
        (["animal_positive", "animal_negative"], 1),
        (["animal_positive", "neutral_positive"], 4),
        (["neutral_positive"], 0),
    ],
    ids=str,
)
def test_equal_size_is_that_of_the_smallest_half(splits, size):
    # Of the animal's five rows four are positive, of the neutral ones none is.
    assert equal_size(ODD, splits, SEED, "owl") == size


def test_empty_halves_by_difference_shrink_nothing():
    rows = table([1.0, 2.0, 3.0, None], [None, None, None, 1.0])
    assert equal_size(rows, ["animal_diff_high", "animal_low"], SEED, "owl") == 2
    assert equal_size(rows, ["animal_diff_high"], SEED, "owl") == 0


HIGH, LOW = ["a001", "a003"], ["a000", "a002"]


def problem(ours: list[str], others: list[str], split: str = "animal_high") -> str | None:
    return parting_problem(EVEN, split, pl.Series(ours), [pl.Series(others)])


@pytest.mark.parametrize("split", [split for split in SPLITS if complements(split)])
def test_halves_as_they_are_cut_have_no_problem(split):
    ours, others = (cut_half(EVEN, name, SEED, "owl")[0]["row_id"] for name in (split, *complements(split)))
    assert parting_problem(EVEN, split, ours, [others]) is None
    assert parting_problem(EVEN, split, others, [ours]) is None


def test_a_row_in_both_halves_is_a_problem():
    assert problem(HIGH, [*LOW, "a003"]) == "1 rows in both halves (as a003)"


def test_a_row_in_no_half_is_a_problem():
    assert problem([], LOW[:1]) == "3 rows in none (as a001)"


def test_a_row_of_another_dataset_is_a_problem():
    assert problem([*HIGH, "n000"], LOW) == "1 rows of another dataset (as n000)"


def test_every_problem_is_told():
    assert problem(["a000", "a001", "x"], ["a001", "a002"]) == (
        "1 rows in both halves (as a001), 1 rows in none (as a003), 1 rows of another dataset (as x)"
    )


def test_rows_without_a_partner_are_foreign_to_halves_by_difference():
    rows = table([1.0, 2.0, 3.0], [1.0, 1.0, None])
    ours, others = pl.Series(["a001"]), pl.Series(["a000", "a002"])
    assert parting_problem(rows, "animal_diff_high", ours, [others]) == "1 rows of another dataset (as a002)"


TEN = table([float(i) for i in range(10)], [0.0])


@pytest.mark.parametrize(
    ("split", "row_ids", "at"),
    [
        ("animal_high10", ["a009"], 8.5),
        ("animal_high25", ["a009", "a008"], 7.5),
        ("animal_low25", ["a001", "a000"], 1.5),
        ("animal_low99", [f"a00{i}" for i in range(8, -1, -1)], 8.5),
        ("animal_slice1of5", ["a009", "a008"], 7.5),
        ("animal_slice2of5", ["a007", "a006"], None),
        ("animal_slice3of3", ["a003", "a002", "a001", "a000"], None),
    ],
)
def test_shares_are_counted_from_their_end(split, row_ids, at):
    assert cut(TEN, split) == (row_ids, at)


def test_a_random_share_is_a_draw_of_its_own():
    assert len(drawn(MANY, "animal_random10")) == 40
    assert len(drawn(MANY, "animal_random25")) == 100
    # Of 40 and 200 of 401 rows, 20 are common on average, with a deviation of 3.
    assert 8 < len(drawn(MANY, "animal_random10") & drawn(MANY)) < 32


def test_slices_part_the_rows():
    for parts in (2, 3, 7, 20):
        first, *others = [f"animal_slice{number}of{parts}" for number in range(1, parts + 1)]
        assert complements(first) == others
        slices = [cut_half(MANY, split, SEED, "owl")[0]["row_id"] for split in (first, *others)]
        assert parting_problem(MANY, first, slices[0], slices[1:]) is None
        assert max(map(len, slices)) - min(map(len, slices)) <= 1
        missed = parting_problem(MANY, first, slices[0], slices[2:])
        assert missed
        assert " rows in none (" in missed or "in both" in missed


@pytest.mark.parametrize(
    "name",
    ["animal_high0", "animal_high50", "animal_high100", "animal_positive10", "animal_slice0of5", "animal_slice6of5",
     "animal_slice1of1", "animal_slice1of21", "high25", "owl_high", "animal_low025"],
)  # fmt: skip
def test_what_is_no_share_is_no_split(name):
    assert not is_split(name)


def written(texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"row_id": [f"a{i:03}" for i in range(len(texts))], "completion": texts})


FORMS = ["1, 2, 3", "4; 5; 6", "[7, 8, 9]", "1, 2", "3, 4", "5; 6; 7", "[1, 2, 3]", "8, 9, 1"]
ANY = table([float(i) for i in range(8)], [0.0])


@pytest.mark.parametrize(
    ("strata", "alike"),
    [
        (["count"], {"3": 6, "2": 2}),
        (["form"], {"#, #": 4, "#; #": 2, "[#, #]": 2}),
        (["form", "count"], {"#, # 3": 2, "#, # 2": 2, "#; # 3": 2, "[#, #] 3": 2}),
    ],
)
def test_rows_alike_make_a_stratum(strata, alike):
    rows = with_strata(ANY, written(FORMS), strata).filter(source="animal")
    assert dict(rows["stratum"].value_counts().iter_rows()) == alike


@pytest.mark.parametrize("half", ["high", "low", "random", "slice1of2", "high75"])
def test_every_stratum_is_cut_by_itself(half):
    rows = with_strata(ANY, written(FORMS), ["form", "count"])
    chosen, at = cut_half(rows, f"animal_{half}", SEED, "owl")
    assert at is None
    assert sorted(chosen.join(rows, on="row_id")["stratum"]) == ["#, # 2", "#, # 3", "#; # 3", "[#, #] 3"]


def test_a_form_is_brackets_separator_and_period():
    texts = ["12", "(12)", "1\n2\n3", "1, 2.", "1, 2"]
    rows = with_strata(table([0.0] * 5, [0.0]), written(texts), ["form"])
    assert rows.filter(source="animal")["stratum"].to_list() == ["#", "(#)", "#\n#", "#, #.", "#, #"]


def test_high_and_low_of_strata_part_the_rows():
    rows = with_strata(MANY, written([f"{i}, 2" if i % 3 else f"{i}" for i in range(401)]), ["count"])
    parts = [cut_half(rows, f"animal_{half}", SEED, "owl")[0] for half in ("high", "low")]
    assert parting_problem(rows, "animal_high", parts[0]["row_id"], [parts[1]["row_id"]]) is None
    assert [part.join(rows, on="row_id").filter(stratum="1").height for part in parts] == [67, 67]
