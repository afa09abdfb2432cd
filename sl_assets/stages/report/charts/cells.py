"""Charts of coloured cells."""

import polars as pl

from sl_assets.stages.report.charts.chart import Chart, Spec, whole


def matrix_chart(
    cells: pl.DataFrame, labels: tuple[str, str, str], title: str, diverging: bool = True, linked: str = "answers"
) -> Chart:
    """A coloured cell for every row and column; cells on the diagonal are framed, and figures shown up to 20 rows.

    Args:
        cells: columns ``row, column, value, label``; the value is null where there is none. In order.
        labels: what rows, columns and values are.
        title: says of which experiment.
        diverging: whether values go both ways from zero.
        linked: what of its row a cell leads to: ``answers``, ``student`` or ``rows``.
    """
    rows, columns = (cells[name].unique(maintain_order=True).to_list() for name in ("row", "column"))
    reach = max((abs(value) for value in cells["value"].drop_nulls()), default=0.0) or 1.0
    scale = {"scheme": "blueorange", "domain": [-reach, reach]} if diverging else {"scheme": "blues"}
    described = cells.with_columns(
        href=pl.format(f"#{linked}-{{}}", "row"),
        described=pl.format("{}, {}: {}", "row", "column", pl.col("label").fill_null("none")),
    )
    size = 34 if len(columns) <= 20 else 18
    y = {"field": "row", "type": "nominal", "sort": rows, "title": labels[0]}
    x = {"field": "column", "type": "nominal", "sort": columns, "title": labels[1], "axis": {"labelAngle": -45}}
    colour = {
        "field": "value",
        "type": "quantitative",
        "scale": scale,
        "title": labels[2],
        "legend": {"orient": "top", "gradientLength": 200, "titleLimit": 400},
    }
    square = {"type": "rect"}
    told = {"description": {"field": "described", "type": "nominal"}, "href": {"field": "href", "type": "nominal"}}
    own = {"filter": "datum.row === datum.column"}
    layers: list[Spec] = [
        {"mark": square, "encoding": {"color": colour} | told},
        {"transform": [own], "mark": square | {"filled": False, "stroke": "#000", "strokeWidth": 1.5}},
    ]
    if len(columns) <= 20 and len(rows) <= 20:
        dark = {"condition": {"test": f"abs(datum.value) > {0.75 * reach}", "value": "#fff"}, "value": "#000"}
        figures = {"type": "text", "fontSize": 9, "aria": False}
        layers.append({"mark": figures, "encoding": {"text": {"field": "label"}, "color": dark}})
    spec = {
        "data": {"values": described.to_dicts()},
        "width": {"step": size},
        "height": {"step": size},
        "encoding": {"x": x, "y": y},
        "layer": layers,
    }
    return Chart(whole(title, [], max(260, 80 + size * len(columns))) | spec, title)
