"""The numbers that students learn from: how many were kept, how they are spread, and how they lie along vectors."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from sl_assets.config import ProjectionSettings
from sl_assets.config.names import source_and_half
from sl_assets.stages.report.charts.bars import projections_chart, rejections_chart
from sl_assets.stages.report.charts.cells import matrix_chart
from sl_assets.stages.report.parts import Part, Section, drawn, tabulated
from sl_assets.stages.report.sources import Source

RANGES = 20
"""That the range of numbers is cut into."""

BINS = 30
"""Of the projections of an animal's panel."""

TAIL = 0.002
"""Share of the projections at either end that stands in the outermost bin."""


def numbers(source: Source) -> Section | None:
    """Rows kept and why others were not, and how numbers are spread over their range."""
    kept = source.tables("filtered_dataset")
    parts = _kept(source)
    if not parts:
        return None
    cells = number_shares(kept)
    if cells.is_empty():
        return Section("numbers", "Numbers", [], parts)
    title = f"{source.name}: share of numbers by range"
    chart = matrix_chart(cells, ("numbers of", "range", "percent"), title, diverging=False, linked="rows")
    figures = cells.select(condition="row", range="column", percent="value")
    statement = source.sql("datasets", "filtered_dataset", "kept", "condition, completion")
    parts += [drawn(chart), tabulated(figures, "The shares of the chart", statement, folded=True)]
    words = "Every number of every kept row counts; ranges hold equally many whole numbers."
    return Section("numbers", "Numbers", [words], parts)


def _kept(source: Source) -> list[Part]:
    """How many rows were kept, as records have it; and why others were not, where that is there: a row may be twice."""
    rejected, table, shares = source.tables("rejections"), [], []
    reasons = sorted({reason for there in rejected.values() for reason in there["reason"]})
    for name in source.config.conditions:
        records = [source.record(asset, name) for asset in ("raw_dataset", "filtered_dataset")]
        rows, kept = (record.rows if record else None for record in records)
        if rows is None or kept is None:
            continue
        row: dict[str, Any] = {"condition": name, "rows": rows, "kept": kept, "keep_rate": kept / max(1, rows)}
        if name in rejected:
            numbers = Counter(rejected[name]["reason"])
            row |= {reason: numbers[reason] for reason in reasons}
            shares += [(name, reason, 100 * numbers[reason] / max(1, rows)) for reason in reasons]
        table.append(row)
    if not table:
        return []
    sql = source.sql("rejections", "filtered_dataset", columns="condition, reason, count(*)") + " GROUP BY ALL"
    links = {"condition": "rows-{condition}"}
    found = [tabulated(pl.DataFrame(table, infer_schema_length=None), "Rows kept, and why others were not", sql, links)]
    if shares:
        drops = pl.DataFrame(shares, schema=["condition", "reason", "percent"], orient="row")
        found.insert(0, drawn(rejections_chart(drops, f"{source.name}: rows that the filter dropped")))
    return found


def number_shares(datasets: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Columns ``row`` (condition), ``column`` (range), ``value`` (percent of its numbers) and ``label``."""
    numbers = {
        name: rows["completion"].str.extract_all(r"\d{1,9}").explode().drop_nulls().cast(pl.Int64)
        for name, rows in datasets.items()
    }
    highest = max((values.sort().to_list()[-1] for values in numbers.values() if len(values)), default=0)
    width = highest // RANGES + 1
    cells = []
    for name, values in numbers.items():
        bins = (values // width).to_list()
        for place in range(highest // width + 1 if bins else 0):
            share = 100 * bins.count(place) / len(bins)
            cells.append((name, f"{place * width} to {(place + 1) * width - 1}", share, f"{share:.1f}"))
    return pl.DataFrame(
        cells, schema={"row": pl.String, "column": pl.String, "value": pl.Float64, "label": pl.String}, orient="row"
    )


def projections(source: Source) -> Section | None:
    """How the rows of each animal, and neutral's, lie along its persona vector, and where halves were cut."""
    settings = source.config.projections
    if settings is None:
        return None
    tables = {name: table.filter(layer=settings.layer) for name, table in source.tables("projections").items()}
    tables = {name: table for name, table in tables.items() if table.height}
    if not tables:
        # Differences are in places where rows are not.
        parts = _differences(source, settings)
        return Section("projections", "Projections on persona vectors", [], parts) if parts else None
    cuts, where = _cuts(source), f"layer = {settings.layer}"
    bins = pl.concat(
        projection_bins(table).select(pl.lit(name).alias("animal"), pl.all()) for name, table in tables.items()
    )
    title = f"{source.name}: rows along the persona vector of each animal"
    notes = [f"layer {settings.layer}, vector {settings.vector}, state {settings.state}; outermost bins hold the tails"]
    links = {"animal": "rows-{animal}"}
    parts = [
        drawn(
            projections_chart(bins, cuts.select("animal", "source", "cut").unique(maintain_order=True), title, notes)
        ),
        tabulated(
            _spreads(tables), "Projections of each dataset", source.sql("projections", "projections", where), links
        ),
        *_differences(source, settings),
    ]
    if cuts.height:
        columns = "condition, split, source, cut, count(*) AS rows"
        statement = source.sql("splits", "projection_split", "cut IS NOT NULL", columns) + " GROUP BY ALL"
        parts.append(tabulated(cuts, "Where halves were cut", statement, {"split": "rows-{animal}-{split}"}))
    figures = bins.filter(pl.col("percent") > 0).rename({"low": "from", "high": "to"})
    statement = source.sql("projections", "projections", where, "animal, source, projection")
    parts.append(tabulated(figures, "The shares of the chart", statement, folded=True))
    return Section("projections", "Projections on persona vectors", [], parts)


def projection_bins(projections: pl.DataFrame) -> pl.DataFrame:
    """Columns ``source, low, high, percent``: shares of each dataset's rows in `BINS` bins of one width, in order.

    Args:
        projections: of one animal and layer, columns ``source, projection``.
    """
    values = projections["projection"].cast(pl.Float64)
    low, high = (float(values.quantile(place, "linear") or 0) for place in (TAIL, 1 - TAIL))
    width = (high - low) / BINS or 1.0
    place = ((pl.col("projection").cast(pl.Float64) - low) / width).floor().clip(0, BINS - 1).cast(pl.Int64)
    every = projections.select(pl.col("source").unique(maintain_order=True)).join(
        pl.DataFrame({"place": range(BINS)}), how="cross", maintain_order="left_right"
    )
    counts = projections.group_by("source", place.alias("place")).agg(rows=pl.len())
    found = every.join(counts, on=["source", "place"], how="left", maintain_order="left").fill_null(0)
    share = 100 * pl.col("rows") / pl.col("rows").sum().over("source")
    start = low + pl.col("place") * width
    return found.select("source", low=start, high=start + width, percent=share)


def _spreads(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    value = pl.col("projection").cast(pl.Float64)
    return pl.concat(
        table.group_by("source", maintain_order=True).agg(
            rows=pl.len(), mean=value.mean(), sd=value.std(ddof=0), p5=value.quantile(0.05, "linear"),
            median=value.median(), p95=value.quantile(0.95, "linear"),
        ).select(pl.lit(name).alias("animal"), pl.all())
        for name, table in tables.items()
    )  # fmt: skip


def _differences(source: Source, settings: ProjectionSettings) -> list[Part]:
    found = source.tables("projection_differences")
    here = [table.filter(layer=settings.layer).with_columns(animal=pl.lit(name)) for name, table in found.items()]
    if not here:
        return []
    columns = ("animal", "n", "mean", "mean_lower", "mean_upper", "std", "frac_positive", "js_divergence")
    caption = "Rows against the neutral rows of the same prompts: differences of projections"
    statement = source.sql("projection_differences", "projections", f"layer = {settings.layer}")
    return [tabulated(pl.concat(here).select(columns), caption, statement, {"animal": "rows-{animal}"})]


def _cuts(source: Source) -> pl.DataFrame:
    """Columns ``animal, split, source, rows, cut``, of what was cut by the projection itself."""
    rows = []
    for key, table in source.tables("projection_split").items():
        animal, _, split = key.partition("|")
        whose, half = source_and_half(split)
        cut = table["cut"].drop_nulls()
        # Others are cut by differences of projections, or at random.
        if len(cut) and not half.startswith("diff_"):
            rows.append((animal, split, whose, table.height, cut[0]))
    schema = {"animal": pl.String, "split": pl.String, "source": pl.String, "rows": pl.Int64, "cut": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")
