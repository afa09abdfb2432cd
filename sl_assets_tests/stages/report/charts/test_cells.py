"""Coloured cells."""

import polars as pl
import pytest

from sl_assets.stages.report.charts.cells import matrix_chart
from sl_assets_tests.stages.report.charts.test_rates import TITLE, texts

pytest.importorskip("vl_convert")


def cells() -> pl.DataFrame:
    rows = [("owl", "owl", 1.5, "2.8"), ("owl", "cat", None, None), ("cat", "owl", -1.0, "0.5")]
    return pl.DataFrame(rows, schema=["row", "column", "value", "label"], orient="row")


def test_cells_are_said_and_their_figures_shown():
    chart = matrix_chart(cells(), ("student of", "asked about", "log2"), TITLE)
    assert "owl, owl: 2.8" in chart.inline()
    assert {"2.8", "0.5", "student of", "asked about"} <= set(texts(chart))


def test_a_cell_leads_to_its_row_and_is_no_stop_of_the_keyboard():
    page = matrix_chart(cells(), ("student of", "asked about", "log2"), TITLE).inline()
    assert '<a tabindex="-1" href="#answers-owl">' in page
    assert "<a href" not in page
    assert 'href="#rows-cat"' in matrix_chart(cells(), ("of", "range", "percent"), TITLE, linked="rows").inline()
