"""Charts of what changes step by step."""

import polars as pl

from sl_assets.stages.report.charts.chart import Chart, whole


def loss_chart(training: pl.DataFrame, title: str) -> Chart:
    """A line a condition of the students' training losses.

    Args:
        training: columns ``condition, step, loss``, the losses in nats a token.
        title: says of which experiment.
    """
    encoding = {
        "x": {"field": "step", "type": "quantitative", "title": "optimiser step"},
        "y": {
            "field": "loss",
            "type": "quantitative",
            "title": "loss (nats a token)",
            "scale": {"zero": False},
        },
        "color": {
            "field": "condition",
            "type": "nominal",
            "title": None,
            "scale": {"scheme": "viridis"},
            "legend": {"orient": "right", "symbolLimit": 50},
        },
        "description": {"field": "condition", "type": "nominal"},
    }
    spec = {
        "data": {"values": training.to_dicts()},
        "mark": {"type": "line", "strokeWidth": 1.3},
        "encoding": encoding,
        "width": 560,
        "height": 260,
    }
    return Chart(whole(title, []) | spec, title)
