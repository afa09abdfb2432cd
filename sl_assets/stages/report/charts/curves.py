"""Charts of what changes step by step."""

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.stages.report.charts.chart import BLUE, ORANGE, Chart, whole


def loss_chart(curves: pl.DataFrame, title: str) -> Chart:
    """A panel a condition, with a line a student of its training losses; the scales are those of all.

    Args:
        curves: columns ``condition, seed, step, loss``, the losses in nats a token.
        title: says of which experiment.
    """
    conditions = curves["condition"].unique(maintain_order=True).to_list()
    rows = [
        row | {"student": f"{row['condition']}, seed {row['seed']}", "href": f"#student-{row['condition']}"}
        for row in curves.select("condition", "seed", "step", pl.col("loss").round(4)).iter_rows(named=True)
    ]
    colour = {"condition": {"test": f"datum.condition === '{NEUTRAL}'", "value": BLUE}, "value": ORANGE}
    encoding = {
        "x": {"field": "step", "type": "quantitative", "axis": {"title": "optimiser step", "tickCount": 4}},
        "y": {
            "field": "loss",
            "type": "quantitative",
            "axis": {"title": "nats a token", "tickCount": 4},
            "scale": {"zero": False},
        },
        "color": colour,
        "detail": {"field": "student", "type": "nominal"},
        "description": {"field": "student", "type": "nominal"},
        "href": {"field": "href", "type": "nominal"},
    }
    several = len(conditions) > 1
    size = {"width": 150, "height": 80} if several else {"width": 480, "height": 180}
    spec = {
        "data": {"values": rows},
        "facet": {"field": "condition", "type": "nominal", "sort": conditions, "title": None},
        "columns": min(4, len(conditions)),
        "spec": {"mark": {"type": "line", "strokeWidth": 1.3, "opacity": 0.8}, "encoding": encoding} | size,
    }
    return Chart(whole(title, [], 60 + len(conditions[:4]) * (size["width"] + 20)) | spec, title)
