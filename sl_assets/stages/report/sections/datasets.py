"""The numbers that students learn from: how many were kept, and how they are spread."""

import polars as pl

from sl_assets.stages.report.charts.cells import matrix_chart
from sl_assets.stages.report.parts import Section, drawn, tabulated
from sl_assets.stages.report.sources import Source

BINS = 20
"""That the range of numbers is cut into."""


def numbers(source: Source) -> Section | None:
    """Rows kept and why others were not, and how numbers are spread over their range."""
    raw, kept = source.tables("raw_dataset"), source.tables("filtered_dataset")
    rejected = source.tables("rejections")
    both = [name for name in raw if name in kept]
    if not both:
        return None
    reasons = sorted({reason for name in both if name in rejected for reason in rejected[name]["reason"]})
    rows = []
    for name in both:
        there = rejected[name]["reason"].to_list() if name in rejected else []
        row = {"condition": name, "rows": raw[name].height, "kept": kept[name].height}
        row["keep_rate"] = kept[name].height / max(1, raw[name].height)
        rows.append(row | {reason: there.count(reason) for reason in reasons})
    sql = source.sql("rejections", "filtered_dataset", columns="condition, reason, count(*)") + " GROUP BY ALL"
    table = tabulated(pl.DataFrame(rows), "Rows kept, and why others were not", sql, links={"condition": "rows"})
    cells = number_shares({name: kept[name] for name in both})
    if cells.is_empty():
        return Section("numbers", "Numbers", [], [table])
    title = f"{source.name}: share of numbers by range"
    chart = matrix_chart(cells, ("numbers of", "range", "percent"), title, diverging=False)
    figures = cells.select(condition="row", range="column", percent="value")
    return Section(
        "numbers",
        "Numbers",
        ["Every number of every kept row counts; ranges hold equally many whole numbers."],
        [table, drawn(chart), tabulated(figures, "The shares of the chart", folded=True)],
    )


def number_shares(datasets: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Columns ``row`` (condition), ``column`` (range), ``value`` (percent of its numbers) and ``label``."""
    numbers = {
        name: rows["completion"].str.extract_all(r"\d{1,9}").explode().drop_nulls().cast(pl.Int64)
        for name, rows in datasets.items()
    }
    highest = max((values.sort().to_list()[-1] for values in numbers.values() if len(values)), default=0)
    width = highest // BINS + 1
    cells = []
    for name, values in numbers.items():
        bins = (values // width).to_list()
        for place in range(highest // width + 1 if bins else 0):
            share = 100 * bins.count(place) / len(bins)
            cells.append((name, f"{place * width} to {(place + 1) * width - 1}", share, f"{share:.1f}"))
    return pl.DataFrame(
        cells, schema={"row": pl.String, "column": pl.String, "value": pl.Float64, "label": pl.String}, orient="row"
    )
