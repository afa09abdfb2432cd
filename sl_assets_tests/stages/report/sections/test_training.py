"""Training curves, shortened."""

import polars as pl

from sl_assets.stages.report.sections.training import POINTS, shortened


def test_a_curve_is_shortened_to_means_by_student() -> None:
    rows = [(seed, step, float(seed * step)) for seed in (1, 2) for step in range(1, 2 * POINTS + 1)]
    short = shortened(pl.DataFrame(rows, schema=["seed", "step", "loss"], orient="row"))
    assert short.filter(seed=1).height == short.filter(seed=2).height == POINTS
    assert short.row(0) == (1, 2, 1.5)
    assert short.row(POINTS) == (2, 2, 3.0)


def test_a_short_curve_stays_as_it_is() -> None:
    curve = pl.DataFrame({"seed": [1, 1], "step": [1, 2], "loss": [2.0, 1.0]})
    assert shortened(curve).equals(curve)
