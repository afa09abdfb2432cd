"""The diagonal against what is beside it."""

import re

import polars as pl
import pytest

from sl_assets.stages.report.sections.results import diagonal


def crossed(rises: list[list[float]]) -> pl.DataFrame:
    names = ["bear", "cat", "dog", "owl"]
    rows = [(names[i], names[j], value) for i, row in enumerate(rises) for j, value in enumerate(row)]
    return pl.DataFrame(rows, schema=["condition", "animal", "difference"], orient="row")


def test_the_diagonal_is_held_against_animals_dealt_at_random() -> None:
    strong = [[0.5 if i == j else 0.0 for j in range(4)] for i in range(4)]
    (said,) = diagonal(crossed(strong))
    assert said.startswith("Of 4 students, 4 rise most")
    assert "+50.0 points on the diagonal and +0.0 beside it" in said
    # One deal in 24 is the diagonal itself.
    (share,) = re.findall(r"as high in ([\d.]+)%", said)
    assert float(share) == pytest.approx(100 / 24, abs=1)
    assert diagonal(crossed(strong).filter(pl.col("condition").is_in(["owl", "cat"]))) == []
