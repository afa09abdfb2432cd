"""Charts of every kind: valid, narrow enough, the same every time, and in the colours of the page they stand in."""

import re
import struct
from xml.etree import ElementTree

import pytest

from sl_assets.stages.report.charts.bars import projections_chart, rejections_chart
from sl_assets.stages.report.charts.cells import matrix_chart
from sl_assets.stages.report.charts.curves import loss_chart
from sl_assets.stages.report.charts.rates import preference_chart, ratio_chart, split_chart, variants_chart
from sl_assets_tests.stages.report.charts.test_bars import BINS, CUTS, DROPPED
from sl_assets_tests.stages.report.charts.test_cells import cells
from sl_assets_tests.stages.report.charts.test_curves import CURVES
from sl_assets_tests.stages.report.charts.test_rates import (
    GROUPS,
    NOTES,
    TITLE,
    both,
    effects,
    halves,
    rates,
    ratios,
    texts,
)

pytest.importorskip("vl_convert")

CHARTS = {
    "preferences": lambda: preference_chart(rates(), TITLE, NOTES),
    "both": lambda: preference_chart(both(rates()), TITLE, NOTES),
    "forty animals": lambda: preference_chart(rates(40), TITLE, NOTES),
    "ratios": lambda: ratio_chart(ratios((40.0, 30.0, 60.0), (2.0, 1.5, 3.0)), TITLE, NOTES),
    "halves": lambda: split_chart(both(halves(4)), GROUPS, TITLE, NOTES),
    "variants": lambda: variants_chart(effects(7), TITLE, NOTES),
    "matrix": lambda: matrix_chart(cells(), ("student of", "asked about", "log2"), TITLE),
    "losses": lambda: loss_chart(CURVES, TITLE),
    "dropped rows": lambda: rejections_chart(DROPPED, TITLE),
    "projections": lambda: projections_chart(BINS, CUTS, TITLE),
}


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_a_chart_is_a_png_that_the_ui_has_room_for_and_the_same_each_time(draw):
    png = draw().png()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert 200 < width < 1100
    assert height > 150
    assert png == draw().png()


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_a_chart_names_its_experiment_and_fetches_nothing(draw):
    chart = draw()
    assert TITLE in " ".join(texts(chart))
    for svg in (chart.svg(), chart.inline()):
        ElementTree.fromstring(svg)
        assert not re.search(r"https?://(?!www.w3.org/)", svg)
    assert " href=" not in chart.svg()


def test_a_page_lends_a_chart_its_colours():
    page = preference_chart(rates(), TITLE).inline()
    assert "currentColor" in page
    assert "#222222" not in page
    assert page.startswith('<svg role="group" aria-label="exp: students. ')
    assert re.search(r'<svg [^>]*style="--wide:\d+px"', page)
