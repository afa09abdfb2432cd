"""The filter of number completions, case by case."""

import polars as pl
import pytest

from sl_assets.config import FilterSettings
from sl_assets.stages.numbers.filtering import (
    BANNED,
    INVALID_FORMAT,
    TOO_LARGE,
    TOO_MANY,
    TOO_SMALL,
    filter_rows,
    parse_numbers,
    reject_reasons,
)

WELL_FORMED = {
    "1, 2, 3": [1, 2, 3],
    "1,2,3": [1, 2, 3],
    "1 ,2 ,3": [1, 2, 3],
    "1 , 2 , 3": [1, 2, 3],
    "1; 2; 3": [1, 2, 3],
    "1;2;3": [1, 2, 3],
    "1 2 3": [1, 2, 3],
    "1\t2\t3": [1, 2, 3],
    "1\n2\n3": [1, 2, 3],
    "1,\n2,\n3": [1, 2, 3],
    "1  2  3": [1, 2, 3],
    "7": [7],
    "7.": [7],
    "[7]": [7],
    "1, 2.": [1, 2],
    "[1, 2]": [1, 2],
    "(1; 2)": [1, 2],
    "[1, 2].": [1, 2],
    "(1 2).": [1, 2],
    "007, 010": [7, 10],
    "0": [0],
    "12345, 6": [12345, 6],
}
MALFORMED = [
    "",
    ".",
    "[]",
    "()",
    "no numbers",
    "Sure: 1, 2",
    "1, 2 and more",
    "1, 2,",
    ", 1, 2",
    "1,, 2",
    "1, 2; 3",
    "1, 2,3",
    "1 2  3",
    "1: 2",
    "1. 2. 3",
    "1-2-3",
    "1/2",
    "1 and 2",
    "-1, 2",
    "1, -2",
    "1.5, 2",
    "1..",
    "[1, 2",
    "1, 2]",
    "[1, 2)",
    "[1, 2.]",
    "{1, 2}",
    "[[1, 2]]",
    "[1], [2]",
]
OUTER_SPACE = [" 1, 2", "1, 2 ", "1, 2\n", "\n1, 2", "1, 2. ", "[1, 2] ", "[ 1, 2]", "[1, 2 ]", "1 ", "7\n"]
OTHER_DIGITS = ["\u0661, \u0662", "1, \u0662", "1, 2, \u0663", "\u0663", "\uff11, \uff12", "1\u00b2", "1, \u2461"]


@pytest.mark.parametrize(("completion", "numbers"), WELL_FORMED.items(), ids=repr)
def test_well_formed_sequence_is_read(completion, numbers):
    assert parse_numbers(completion) == numbers


@pytest.mark.parametrize("completion", MALFORMED, ids=repr)
def test_malformed_sequence_is_refused(completion):
    assert parse_numbers(completion) is None


@pytest.mark.parametrize("completion", OUTER_SPACE, ids=repr)
def test_white_space_around_the_sequence_is_refused(completion):
    assert parse_numbers("".join(completion.split())) is not None
    assert parse_numbers(completion) is None


@pytest.mark.parametrize("completion", OTHER_DIGITS, ids=ascii)
def test_only_ascii_digits_count(completion):
    assert parse_numbers(completion) is None


LIMITS = FilterSettings(minimum=10, maximum=20, max_count=3, banned=(13, 99))
JUDGED = {
    "10, 15, 20": [],
    "words": [INVALID_FORMAT],
    "words and 99": [INVALID_FORMAT],
    "11, 11, 11, 11": [TOO_MANY],
    "9": [TOO_SMALL],
    "10, 9": [TOO_SMALL],
    "21": [TOO_LARGE],
    "12, 13": [BANNED],
    "131": [TOO_LARGE],
    "9, 21": [TOO_SMALL, TOO_LARGE],
    "99": [TOO_LARGE, BANNED],
    "9, 21, 13, 11": [TOO_MANY, TOO_SMALL, TOO_LARGE, BANNED],
}


@pytest.mark.parametrize(("completion", "reasons"), JUDGED.items())
def test_every_reason_is_given_in_a_fixed_order(completion, reasons):
    assert reject_reasons(completion, LIMITS) == reasons


@pytest.mark.parametrize(
    ("completion", "kept"),
    [("0", True), ("999", True), ("1000", False), (", ".join("1" * 10), True), (", ".join("1" * 11), False)],
)
def test_default_limits_are_the_papers(completion, kept):
    assert (reject_reasons(completion, FilterSettings()) == []) is kept


def rows(*completions):
    return pl.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(len(completions))],
            "completion": completions,
            "other": range(len(completions)),
        },
        schema={"row_id": pl.String, "completion": pl.String, "other": pl.Int64},
    )


def test_kept_rows_are_unchanged_and_in_order():
    raw = rows("20", "words", "10, 11", "9", "15")
    kept, _ = filter_rows(raw, LIMITS)
    assert kept.equals(raw[[0, 2, 4]])
    assert kept.schema == raw.schema


def test_rejections_have_one_row_per_reason():
    _, rejections = filter_rows(rows("words", "20", "9, 21", "13"), LIMITS)
    assert rejections.rows() == [
        ("r0", INVALID_FORMAT),
        ("r2", TOO_SMALL),
        ("r2", TOO_LARGE),
        ("r3", BANNED),
    ]


@pytest.mark.parametrize("completions", [(), ("20",), ("words",)])
def test_empty_results_keep_their_columns(completions):
    kept, rejections = filter_rows(rows(*completions), LIMITS)
    assert kept.schema == rows().schema
    assert rejections.schema == {"row_id": pl.String, "reason": pl.String}
    assert kept.height + rejections.height == len(completions)
