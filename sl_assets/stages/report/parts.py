"""What the page of an experiment is put together from: sections, and the tables, charts and lines in them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from sl_assets.stages.report.charts.chart import Chart


class Cell(NamedTuple):
    """A figure or a word in a table.

    Attributes:
        text: as it is read.
        by: what the table sorts by; nothing where by the text.
        link: identity of the part of the page that a click leads to; none where empty.
        mark: what is said of it by its colour, too: ``good`` or ``bad``.
    """

    text: str
    by: float | None = None
    link: str = ""
    mark: str = ""


@dataclass
class Part:
    """A table, a chart or lines to copy.

    Attributes:
        columns, rows: of a table.
        caption: what it is.
        sql: the statement that gives all of it.
        chart: a drawing, as SVG.
        code: lines to copy.
        folded: whether it is opened by a click.
    """

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    caption: str = ""
    sql: str = ""
    chart: str = ""
    code: str = ""
    folded: bool = False


@dataclass
class Section:
    """A part of the page with a title.

    Attributes:
        id: what links lead to.
        title: its heading.
        words: paragraphs.
        parts: below them.
        anchors: other identities of the same place.
        links: identity and text of where one goes on from here.
        level: of its heading: 2, or 3 inside another.
    """

    id: str
    title: str
    words: Sequence[str] = ()
    parts: list[Part] = field(default_factory=list)
    anchors: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()
    level: int = 2


def drawn(chart: Chart) -> Part:
    """``chart`` as it stands inside the page."""
    return Part(chart=chart.inline())


def tabulated(
    frame: pl.DataFrame, caption: str, sql: str = "", links: Mapping[str, str] | None = None, folded: bool = False
) -> Part:
    """``frame`` as it is read: shares in percent, and no column that says nothing.

    Args:
        frame: the table.
        caption: what it is.
        sql: the statement that gives all of it.
        links: by column the part of the page that its cells lead to, with columns of the row in braces.
        folded: whether it is opened by a click.
    """
    leading = links or {}
    silent = {name for name in frame.columns if frame[name].is_null().all()}
    if "method" in frame.columns and frame["method"].n_unique() == 1:
        silent.add("method")
    columns = [name for name in frame.columns if name not in silent]
    rows = [
        [_cell(name, row[name], leading[name].format(**row) if name in leading else "") for name in columns]
        for row in frame.iter_rows(named=True)
    ]
    named = [name.replace("_", " ") + (" (%)" if _is_share(name, frame[name].dtype) else "") for name in columns]
    return Part(named, rows, caption, sql, folded=folded)


SHARE = re.compile(r"([a-z]+_)?rate|((baseline|neutral|other)_)?(lower|upper)|difference(_lower|_upper)?")
"""Columns that hold shares, and differences of shares."""


def _is_share(name: str, dtype: pl.DataType) -> bool:
    return dtype.is_float() and SHARE.fullmatch(name) is not None


def _cell(name: str, value: Any, link: str) -> Cell:
    if value is None:
        return Cell("")
    if isinstance(value, bool):
        return Cell("yes" if value else "no", float(value), mark="good" if value else "")
    if isinstance(value, float):
        return Cell(_figure(name, 100 * value if SHARE.fullmatch(name) else value), value)
    if isinstance(value, int):
        return Cell(f"{value:,}" if name != "seed" else str(value), float(value))
    text = str(value)
    return Cell(text, link=link)


def _figure(name: str, value: float) -> str:
    if name in ("p_value", "q_value"):
        return f"{value:.0e}" if value < 0.001 else f"{value:.3f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
