"""Samples of tables."""

import polars as pl

from sl_assets.stages.report.sections.samples import spaced


def test_a_sample_is_spread_over_the_table() -> None:
    assert spaced(pl.DataFrame({"x": range(100)}), 4)["x"].to_list() == [0, 25, 50, 75]
    assert spaced(pl.DataFrame({"x": [1, 2]}), 4)["x"].to_list() == [1, 2]
