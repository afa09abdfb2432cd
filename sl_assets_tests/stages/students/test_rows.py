"""Which rows a student sees."""

import polars as pl
import pytest

from sl_assets.engines.interfaces import Example
from sl_assets.errors import DatasetError
from sl_assets.stages.students.rows import draw_rows, examples_of

ROWS = pl.DataFrame({"row_id": range(1000)})


def drawn(max_rows=100, seed=1, condition="cat"):
    return draw_rows(ROWS, max_rows, seed, condition)["row_id"].to_list()


@pytest.mark.parametrize("max_rows", [1, 100, 999])
def test_draw_has_the_wanted_number_of_distinct_rows_in_order(max_rows):
    ids = drawn(max_rows)
    assert len(ids) == max_rows
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("max_rows", [1000, 1001])
def test_all_rows_where_there_are_no_more(max_rows):
    assert draw_rows(ROWS, max_rows, 1, "cat").equals(ROWS)


def test_same_arguments_draw_the_same_rows():
    assert drawn() == drawn()


@pytest.mark.parametrize("other", [{"seed": 2}, {"condition": "owl"}])
def test_seed_and_condition_change_the_draw(other):
    assert drawn(**other) != drawn()


def test_draw_covers_the_whole_dataset():
    ids = drawn(200)
    assert min(ids) < 100
    assert max(ids) >= 900


def test_other_columns_stay_with_their_row():
    rows = ROWS.with_columns(double=pl.col("row_id") * 2)
    picked = draw_rows(rows, 50, 1, "cat")
    assert (picked["double"] == picked["row_id"] * 2).all()


def test_no_rows_is_an_error_that_names_the_condition():
    with pytest.raises(DatasetError, match="filtered_dataset of cat has no rows"):
        draw_rows(ROWS.clear(), 10, 1, "cat")


PAIRS = pl.DataFrame({"prompt": ["p", "q"], "completion": ["1", "2"]})
TOLD = PAIRS.with_columns(system=pl.Series([None, "Be brief."]))


def test_a_row_is_learnt_under_its_own_system_prompt_or_that_of_all():
    assert examples_of(PAIRS, "Hello.") == [Example("p", "1", "Hello."), Example("q", "2", "Hello.")]
    assert examples_of(TOLD, None) == [Example("p", "1", None), Example("q", "2", "Be brief.")]
    with pytest.raises(DatasetError, match="imported with a system turn of their own"):
        examples_of(TOLD, "Hello.")
