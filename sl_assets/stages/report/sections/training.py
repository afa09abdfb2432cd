"""Loss curves of the students."""

import polars as pl

from sl_assets.stages.report.charts.curves import loss_chart
from sl_assets.stages.report.parts import Section, drawn, tabulated
from sl_assets.stages.report.sources import Source

POINTS = 24
"""Of a student's training curve that are drawn, each a mean over as many steps."""


def training(source: Source) -> Section | None:
    """Loss curves of the students of every condition."""
    curves = source.tables("training")
    if not curves:
        return None
    points = pl.concat(
        shortened(curve).select(pl.lit(name).alias("condition"), "seed", "step", "loss")
        for name, curve in curves.items()
    )
    rows = [
        {
            "condition": name,
            "seed": seed,
            "steps": steps.height,
            "first_losses": steps.head(10)["loss"].mean(),
            "last_losses": steps.tail(10)["loss"].mean(),
        }
        for name, curve in curves.items()
        for (seed,), steps in curve.sort("step").group_by("seed", maintain_order=True)
    ]
    chart = loss_chart(points, f"{source.name}: training losses of the students")
    table = tabulated(
        pl.DataFrame(rows, infer_schema_length=None),
        "Losses: means of the first and the last ten steps, in nats a token",
        source.sql("training", "lora_checkpoint"),
        links={"condition": "student-{condition}"},
    )
    return Section("training", "Training", [f"Points are means over a {POINTS}th of the steps."], [drawn(chart), table])


def shortened(curve: pl.DataFrame) -> pl.DataFrame:
    """Columns ``seed, step, loss`` of a ``training`` table: means over groups of steps, by the last step of each."""
    steps = curve.select(pl.len().over("seed").max()).item() or 1
    group = (pl.col("step") - 1) // -(-steps // POINTS)
    means = curve.group_by("seed", group.alias("group")).agg(pl.col("step").max(), pl.col("loss").mean())
    return means.sort("seed", "step").select("seed", "step", "loss")
