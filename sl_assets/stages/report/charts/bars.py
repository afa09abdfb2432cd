"""Charts of shares of rows: why they were dropped, and how far along a vector they lie."""

from collections.abc import Sequence

import polars as pl

from sl_assets.stages.report.charts.chart import BLUE, LINKED, ORANGE, TOLD, Chart, Spec, panel_titles, whole

COLOURS = {"animal": ORANGE, "neutral": BLUE}
"""Of rows by the dataset that they are of."""


def rejections_chart(shares: pl.DataFrame, title: str, notes: Sequence[str] = ()) -> Chart:
    """A bar a condition: the share of its rows that was dropped, by reason.

    Args:
        shares: columns ``condition, reason, percent`` of all its rows.
        title: says of which experiment.
        notes: lines below it.
    """
    rows = [
        row
        | {"told": f"{row['condition']}, {row['reason']}: {row['percent']:.2f}%", "href": f"#rows-{row['condition']}"}
        for row in shares.iter_rows(named=True)
    ]
    encoding = {
        "y": {
            "field": "condition",
            "type": "nominal",
            "sort": shares["condition"].unique(maintain_order=True).to_list(),
            "title": None,
        },
        "x": {"field": "percent", "type": "quantitative", "title": "rows dropped (%)"},
        "color": {
            "field": "reason",
            "type": "nominal",
            "title": None,
            "scale": {"scheme": "tableau10"},
            "legend": {"orient": "top", "columns": 3, "labelLimit": 300},
        },
    }
    bars = {"data": {"values": rows}, "mark": {"type": "bar"}, "encoding": encoding | LINKED}
    return Chart(whole(title, notes) | bars | {"width": 520, "height": {"step": 18}}, title)


def projections_chart(bins: pl.DataFrame, cuts: pl.DataFrame, title: str, notes: Sequence[str] = ()) -> Chart:
    """A panel an animal: how its rows and neutral's are spread along its persona vector, and where halves were cut.

    Args:
        bins: columns ``animal, source, low, high, percent``: of the rows of a source (animal or neutral), how many have
            a projection in that range.
        cuts: columns ``animal, source, cut``: where that dataset was cut.
        title: says of which experiment.
        notes: lines below it: layer, vector, state.
    """
    animals = bins["animal"].unique(maintain_order=True).to_list()
    # A step is drawn from where it begins to where the next does, so the last one needs an end.
    ends = bins.group_by("animal", "source", maintain_order=True).last().with_columns(low="high")
    condition = pl.when(pl.col("source") == "animal").then("animal").otherwise("source")
    drawn = pl.concat([bins, ends]).with_columns(
        told=pl.format("{}, rows of {}", "animal", "source"), href=pl.format("#rows-{}", condition)
    )
    rows = drawn.drop("high").to_dicts()
    rows += cuts.with_columns(
        told=pl.format("{}: {} rows cut at {}", "animal", "source", pl.col("cut").round(3))
    ).to_dicts()
    colour = {
        "field": "source",
        "type": "nominal",
        "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
        "legend": {"orient": "top", "title": None, "labelExpr": "datum.label + ' rows'"},
    }
    x: Spec = {"field": "low", "type": "quantitative", "scale": {"zero": False, "nice": False}}
    x["axis"] = {"title": None, "tickCount": 4, "grid": False}
    y = {"field": "percent", "type": "quantitative", "stack": None, "axis": {"title": None, "tickCount": 3}}
    steps = {"type": "area", "interpolate": "step-after", "opacity": 1, "fillOpacity": 0.3, "strokeWidth": 1.2}
    outline = colour | {"legend": None}
    layers = [
        {
            "transform": [{"filter": "isValid(datum.percent)"}],
            "mark": steps,
            "encoding": {"x": x, "y": y, "fill": colour, "stroke": outline} | LINKED,
        },
        {
            "transform": [{"filter": "isValid(datum.cut)"}],
            "mark": {"type": "rule", "strokeDash": [4, 3], "strokeWidth": 1.5},
            "encoding": {"x": x | {"field": "cut"}, "stroke": outline} | TOLD,
        },
    ]
    header = panel_titles("projection on the animal's persona vector; share of rows (%)")
    columns = min(3, len(animals))
    spec = {
        "data": {"values": rows},
        "facet": {"field": "animal", "type": "nominal", "sort": animals, "header": header},
        "columns": columns,
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
        "spec": {"width": 190, "height": 80, "layer": layers},
    }
    lines = [*notes, "dashed: where halves were cut"] if cuts.height else list(notes)
    return Chart(whole(title, lines, 60 + 220 * columns) | spec, f"{title}. {'; '.join(lines)}")
