"""Curves of training."""

import polars as pl
import pytest

from sl_assets.stages.report.charts.curves import loss_chart
from sl_assets_tests.stages.report.charts.test_rates import TITLE, texts

pytest.importorskip("vl_convert")

CURVES = pl.DataFrame(
    [(name, seed, step, 3.0 - step / 10) for name in ("neutral", "owl") for seed in (1, 2) for step in (1, 2, 3)],
    schema=["condition", "seed", "step", "loss"],
    orient="row",
)


def test_every_student_has_a_line_in_the_panel_of_its_condition():
    chart = loss_chart(CURVES, TITLE)
    page = chart.inline()
    assert [page.count(f'aria-label="{name}, seed {seed}"') for name in ("neutral", "owl") for seed in (1, 2)] == [
        1
    ] * 4
    assert page.count('href="#student-owl"') == 2
    assert {"neutral", "owl", "optimiser step"} <= set(texts(chart))
