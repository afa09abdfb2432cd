"""Shares of numbers, and of projections."""

import polars as pl
import pytest

from sl_assets.stages.report.sections.datasets import BINS, number_shares, projection_bins


def test_numbers_are_counted_by_range() -> None:
    kept = {"owl": pl.DataFrame({"completion": ["0, 999", "49"]}), "neutral": pl.DataFrame({"completion": ["50 51"]})}
    cells = number_shares(kept)
    shares = {(row, column): value for row, column, value, _ in cells.iter_rows()}
    assert shares["owl", "0 to 49"] == pytest.approx(200 / 3)
    assert shares["owl", "950 to 999"] == pytest.approx(100 / 3)
    assert shares["neutral", "50 to 99"] == 100
    assert sum(shares.values()) == pytest.approx(200)


def test_projections_are_counted_in_bins_of_one_width_and_none_is_left_out() -> None:
    # A far outlier stands in the outermost bin rather than making all others one.
    values = [*(place / 1000 for place in range(1000)), 1e6]
    rows = [("animal", value) for value in values] + [("neutral", 0.51)]
    bins = projection_bins(pl.DataFrame(rows, schema=["source", "projection"], orient="row"))
    own = bins.filter(source="animal")
    assert own["percent"].sum() == pytest.approx(100)
    assert own.height == BINS
    assert (own["high"] - own["low"]).to_list() == pytest.approx([own["high"][0] - own["low"][0]] * BINS)
    assert own["high"].to_list()[-1] == pytest.approx(1, abs=0.01)
    assert bins.filter(source="neutral").select("low", "high").equals(own.select("low", "high"))
    (alone,) = bins.filter(pl.col("percent") > 0, source="neutral").iter_rows(named=True)
    assert alone["low"] <= 0.51 < alone["high"]
    assert alone["percent"] == 100


def test_rows_that_all_lie_alike_have_one_bin() -> None:
    bins = projection_bins(pl.DataFrame({"source": ["animal"] * 3, "projection": [2.0] * 3}))
    assert bins["percent"].to_list() == [100] + [0] * (BINS - 1)
