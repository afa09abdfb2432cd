"""Samples of tables."""

import polars as pl

from sl_assets.stages.report.sections.samples import spaced


def test_a_sample_is_spread_over_the_table() -> None:
    assert spaced(pl.DataFrame({"x": range(100)}), 4)["x"].to_list() == [0, 26, 52, 78]
    assert spaced(pl.DataFrame({"x": range(5)}), 4)["x"].to_list() == [0, 1, 2, 3]
    assert spaced(pl.DataFrame({"x": [1, 2]}), 4)["x"].to_list() == [1, 2]


def test_a_sample_meets_every_seed_of_a_table_where_they_take_turns() -> None:
    table = pl.DataFrame({"seed": [1, 2, 3] * 100})
    assert set(spaced(table, 10)["seed"]) == {1, 2, 3}
