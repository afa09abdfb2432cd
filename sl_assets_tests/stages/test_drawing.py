"""Pictures of every stage: valid, and the same every time."""

import io

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from sl_assets.stages.drawing import (
    as_png,
    blank_figure,
    differences_by_layer,
    heatmap,
    histogram,
    lines_by_layer,
    loss_curve,
)


def differences() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "layer": [0, 4],
            "mean": [0.1, -0.2],
            "mean_lower": [0.0, -0.3],
            "mean_upper": [0.2, -0.1],
            "js_divergence": [0.01, 0.02],
        }
    )


PICTURES = {
    "loss": lambda: loss_curve([1, 2, 3], [3.0, 2.0, 1.5]),
    "one step": lambda: loss_curve([1], [3.0]),
    "lines": lambda: lines_by_layer(
        [0, 1, 2], {"prompt_mean": [1.0, 2.0, 3.0], "prompt_last": [0.0, 1.0, 0.5]}, "norm"
    ),
    "differences": lambda: differences_by_layer(differences()),
    "histogram": lambda: histogram({"owl": np.arange(9.0), "neutral": np.arange(9.0) / 2}, "projection", cut=3.0),
    "histogram of one value": lambda: histogram({"owl": np.ones(3)}, "projection"),
    "heatmap": lambda: heatmap(np.array([[-1.0, 2.0], [0.5, np.nan]]), ["owl", "cat"], ["owl", "cat"], ("x", "y", "z")),
    "heatmap above zero": lambda: heatmap(np.array([[0.0, 2.0]]), ["3"], ["0", "4"], ("x", "y", "z")),
}


def pixels(png: bytes):
    return imread(io.BytesIO(png), format="png")


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_picture_is_a_png_with_something_on_it(draw):
    png = draw()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert pixels(png).ndim == 3
    assert pixels(png).std() > 0


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_same_figures_give_the_same_bytes(draw):
    assert draw() == draw()


def test_losses_show():
    assert loss_curve([1, 2], [3.0, 2.0]) != loss_curve([1, 2], [3.0, 1.0])


@pytest.mark.parametrize(
    "other",
    [
        {"groups": {"owl": np.arange(8.0)}},
        {"groups": {"wolf": np.arange(9.0)}},
        {"label": "difference"},
        {"cut": 2.0},
        {"cut": None},
    ],
    ids=["values", "name", "label", "cut", "no cut"],
)
def test_everything_in_a_histogram_shows(other):
    given = {"groups": {"owl": np.arange(9.0)}, "label": "projection", "cut": 3.0}
    assert histogram(**given | other) != histogram(**given)


def test_a_blank_figure_has_the_panels_asked_for():
    figure, axes = blank_figure(width=5)
    assert figure.axes == [axes]
    figure, panels = blank_figure(width=5, panels=3, rows=2)
    assert figure.axes == panels
    assert len(panels) == 6
    _, (only,) = blank_figure(width=5, panels=1)
    assert not only.spines["top"].get_visible()


def test_size_is_that_of_the_figure():
    small, large = (pixels(as_png(blank_figure(width, height)[0])) for width, height in ((4, 2), (8, 6)))
    assert (large.shape[1], large.shape[0]) == (2 * small.shape[1], 3 * small.shape[0])
