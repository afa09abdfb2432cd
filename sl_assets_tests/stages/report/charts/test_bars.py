"""Charts of shares of rows."""

import polars as pl
import pytest

from sl_assets.stages.report.charts.bars import projections_chart, rejections_chart
from sl_assets_tests.stages.report.charts.test_rates import TITLE, texts

pytest.importorskip("vl_convert")

DROPPED = pl.DataFrame(
    [("neutral", "invalid format", 1.5), ("owl", "invalid format", 4.25), ("owl", "too many numbers", 0.5)],
    schema=["condition", "reason", "percent"],
    orient="row",
)
BINS = pl.DataFrame(
    [
        (animal, source, float(low), low + 1.0, 50.0)
        for animal in ("owl", "cat")
        for source in ("animal", "neutral")
        for low in (0, 1)
    ],
    schema=["animal", "source", "low", "high", "percent"],
    orient="row",
)
CUTS = pl.DataFrame([("owl", "animal", 1.25)], schema=["animal", "source", "cut"], orient="row")


def test_a_reason_has_its_share_and_leads_to_the_rows():
    chart = rejections_chart(DROPPED, TITLE)
    page = chart.inline()
    assert "owl, invalid format: 4.25%" in page
    assert 'href="#rows-owl"' in page
    assert {"invalid format", "too many numbers", "rows dropped (%)"} <= set(texts(chart))


def test_an_animal_has_a_panel_with_its_rows_beside_neutral_ones_and_the_cut():
    page = projections_chart(BINS, CUTS, TITLE).inline()
    assert {"owl", "cat"} <= set(texts(projections_chart(BINS, CUTS, TITLE)))
    assert page.count('href="#rows-cat"') == 1
    assert page.count('href="#rows-neutral"') == 2
    assert page.count("owl: animal rows cut at 1.25") == 1
    assert "cut at" not in projections_chart(BINS, CUTS.clear(), TITLE).inline()
