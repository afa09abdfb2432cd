"""Loss curves of the students."""

import polars as pl

from sl_assets.stages.report.charts.curves import loss_chart
from sl_assets.stages.report.parts import Section, drawn, tabulated
from sl_assets.stages.report.sources import Source

POINTS = 24
"""Of a student's training curve that are drawn, each a mean over as many steps."""

ENDS = "Losses: means of the first and the last ten steps, in nats a token"
"""What the table of `first_and_last` is."""


def training(source: Source) -> Section | None:
    """Loss curves of the students of every condition."""
    curves = source.tables("training")
    if not curves:
        return None
    points = pl.concat(
        shortened(curve).select(pl.lit(name).alias("condition"), "seed", "step", "loss")
        for name, curve in curves.items()
    )
    ends = pl.concat(first_and_last(curve).with_columns(condition=pl.lit(name)) for name, curve in curves.items())
    chart = loss_chart(points, f"{source.name}: training losses of the students")
    sql, links = source.sql("training", "lora_checkpoint"), {"condition": "student-{condition}"}
    table = tabulated(ends.select("condition", pl.exclude("condition")), ENDS, sql, links)
    notes = [
        f"Points are means over a {POINTS}th of the steps.",
        "Random numbers cannot be foretold, so a model that knows their form has little left to learn of them: how far "
        "the loss falls says little of what a student has taken over. Its answers say that.",
    ]
    return Section("training", "Training", notes, [drawn(chart), table])


def first_and_last(curve: pl.DataFrame) -> pl.DataFrame:
    """Columns ``seed, steps, first_losses, last_losses`` of a ``training`` table: a row a student."""
    loss = pl.col("loss").sort_by("step")
    ends = (
        pl.len().alias("steps"),
        loss.head(10).mean().alias("first_losses"),
        loss.tail(10).mean().alias("last_losses"),
    )
    return curve.group_by("seed", maintain_order=True).agg(ends)


def shortened(curve: pl.DataFrame) -> pl.DataFrame:
    """Columns ``seed, step, loss`` of a ``training`` table: means over groups of steps, by the last step of each."""
    steps = curve.select(pl.len().over("seed").max()).item() or 1
    # Alike in length, to within a step: a short one at the end would be all noise.
    group = (pl.col("step") - 1) * min(POINTS, steps) // steps
    means = curve.group_by("seed", group.alias("group")).agg(pl.col("step").max(), pl.col("loss").mean())
    return means.sort("seed", "step").select("seed", "step", "loss")
