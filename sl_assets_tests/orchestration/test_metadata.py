"""Previews and pictures in the UI."""

import base64
from datetime import date

import polars as pl
import pytest

from sl_assets.orchestration.metadata import PREVIEW_ROWS, PREVIEW_WIDTH, picture, preview
from sl_assets.stages.report.charts import loss_curve


def test_preview_is_a_markdown_table():
    frame = pl.DataFrame({"animal": ["cat", "owl"], "n": [3, 4], "rate": [0.12345, None]})
    assert preview(frame).value.split("\n") == [
        "| animal | n | rate |",
        "| --- | --- | --- |",
        "| cat | 3 | 0.123 |",
        "| owl | 4 | None |",
    ]


@pytest.mark.parametrize("height", [0, 1, PREVIEW_ROWS, PREVIEW_ROWS + 1, 100])
def test_preview_holds_the_first_rows(height):
    lines = preview(pl.DataFrame({"n": range(height)})).value.split("\n")
    assert lines[2:] == [f"| {i} |" for i in range(min(height, PREVIEW_ROWS))]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a|b", r"a\|b"),
        ("1\n2", "1 ⏎ 2"),
        ("x" * PREVIEW_WIDTH, "x" * PREVIEW_WIDTH),
        ("x" * (PREVIEW_WIDTH + 1), "x" * (PREVIEW_WIDTH - 1) + "…"),
        (2.0, "2.000"),
        (date(2025, 1, 2), "2025-01-02"),
    ],
    ids=["bar", "line break", "just fits", "cut", "float", "date"],
)
def test_cell(value, shown):
    assert preview(pl.DataFrame({"x": [value]})).value.split("\n")[2] == f"| {shown} |"


def test_picture_carries_its_bytes():
    png = loss_curve([1, 2], [3.0, 2.0])
    text = picture(png).value
    head, _, data = text.removesuffix(")").partition("base64,")
    assert head == "![chart](data:image/png;"
    assert base64.b64decode(data, validate=True) == png
