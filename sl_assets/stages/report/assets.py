"""Stage 7: pictures of the results."""

import dagster as dg
import polars as pl

from sl_assets.errors import DatasetError
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.metadata import FilePath, picture
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.evaluation.rates import with_method
from sl_assets.stages.report.charts import preference_chart as draw_chart
from sl_assets.stages.report.charts import split_chart as draw_split_chart

STAGE = "7_report"
BAR = ("rate", "lower", "upper")


def report_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 7."""
    epoch = graph.config.student.kept[-1]

    @graph.asset(stage=STAGE, code="1", uses=["student.kept"], deps=["transfer"], by=None, kinds=["matplotlib"])
    def preference_chart(step: Step) -> Product:
        """Baseline, neutral and animal bars for every animal evaluated, with one kind of interval."""
        own = with_method(step.read("transfer")).filter(pl.col("condition") == pl.col("animal"), epoch=epoch)
        if own.is_empty():
            raise DatasetError(
                f"{step.experiment}: no student has been evaluated at epoch {epoch} yet; materialise evaluation"
            )
        return _stored(step, draw_chart(_bars(own), epoch, own["counted"][0]))

    if not graph.config.splits:
        return [preference_chart]

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["splits", "student.kept"],
        deps=["transfer", "split_preference_rates"],
        by=None,
        kinds=["matplotlib"],
    )
    def split_chart(step: Step) -> Product:
        """For every animal the baseline, neutral and animal bars beside those of the halves' students."""
        own = with_method(step.read("transfer")).filter(pl.col("condition") == pl.col("animal"), epoch=epoch)
        halves = _halves(step, graph, epoch)
        if halves.is_empty():
            raise DatasetError(f"{step.experiment}: no student of a half has been evaluated at epoch {epoch} yet")
        bars = pl.concat([_bars(own).join(halves, on="animal", how="semi"), halves])
        groups = ["baseline", "neutral", "animal", *graph.config.splits]
        return _stored(step, draw_split_chart(bars, groups, epoch, own["counted"][0]))

    return [preference_chart, split_chart]


def _stored(step: Step, png: bytes) -> Product:
    metadata = {"chart": picture(png), "path": FilePath(str(step.lake.picture(step.place(step.asset))))}
    return Product(step.write_picture(png), metadata, "matplotlib")


def _halves(step: Step, graph: ExperimentGraph, epoch: int) -> pl.DataFrame:
    """Columns ``group, animal, method, rate, lower, upper``: a row a student of a half, on the animal that cut it."""
    rates = step.read_existing("split_preference_rates", [key for key in graph.keys("split") if key])
    bars = [
        with_method(found)
        .filter(animal=animal, epoch=epoch)
        .select(pl.lit(split).alias("group"), "animal", "method", *BAR)
        for (animal, split), found in ((keys_of(key), found) for key, found in rates.items())
    ]
    return pl.concat(bars) if bars else pl.DataFrame(schema={"animal": pl.String()})


def _bars(own: pl.DataFrame) -> pl.DataFrame:
    """Columns ``group, animal, method, rate, lower, upper``: three rows an animal and method."""
    prefixes = {"baseline": "baseline_", "neutral": "neutral_", "animal": ""}
    return pl.concat(
        own.select(
            pl.lit(group).alias("group"),
            "animal",
            "method",
            *(pl.col(f"{prefix}{name}").alias(name) for name in BAR),
        )
        for group, prefix in prefixes.items()
    )
