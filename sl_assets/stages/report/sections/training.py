"""Loss curves of the students."""

import polars as pl

from sl_assets.stages.report.charts.curves import loss_chart
from sl_assets.stages.report.parts import Section, drawn, tabulated
from sl_assets.stages.report.sources import Source

POINTS = 60
"""Of a training curve that are drawn."""


def training(source: Source) -> Section | None:
    """Loss curves of the students of every condition."""
    curves = source.tables("training")
    if not curves:
        return None
    points, rows = [], []
    for name, curve in curves.items():
        for (seed,), steps in curve.group_by("seed", maintain_order=True):
            label = name if curve["seed"].n_unique() == 1 else f"{name}, seed {seed}"
            every = steps.sort("step")
            points.append(
                every.gather_every(-(-every.height // POINTS)).select(pl.lit(label).alias("condition"), "step", "loss")
            )
            first, last = every.head(10)["loss"].mean(), every.tail(10)["loss"].mean()
            rows.append(
                {"condition": name, "seed": seed, "steps": every.height, "first_losses": first, "last_losses": last}
            )
    chart = loss_chart(pl.concat(points), f"{source.name}: training losses of the students")
    table = tabulated(
        pl.DataFrame(rows),
        "Losses: means of the first and the last ten steps, in nats a token",
        source.sql("training", "lora_checkpoint"),
        links={"condition": "student"},
    )
    return Section("training", "Training", [], [drawn(chart), table])
