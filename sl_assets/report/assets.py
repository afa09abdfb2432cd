"""Stage 6: pictures of the results."""

import dagster as dg
import polars as pl

from sl_assets.errors import DatasetError
from sl_assets.graph import ExperimentGraph
from sl_assets.report.charts import preference_chart as draw_chart
from sl_assets.report.metadata import picture
from sl_assets.step import Product, Step

STAGE = "6_report"


def report_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 6."""
    epoch = graph.config.student.kept[-1]

    @graph.asset(stage=STAGE, uses=["student"], deps=["transfer"], partitioned=False, kinds=["matplotlib"])
    def preference_chart(step: Step) -> Product:
        """Baseline, neutral and animal bars for every animal evaluated, with one kind of interval."""
        own = step.read("transfer").filter(pl.col("condition") == pl.col("animal"), epoch=epoch)
        if own.is_empty():
            raise DatasetError(
                f"{step.experiment}: no student has been evaluated at epoch {epoch} yet; materialise evaluation"
            )
        png = draw_chart(_bars(own), epoch)
        path = step.lake.write_picture(step.place(step.asset), png)
        metadata = {"chart": picture(png), "path": dg.MetadataValue.path(str(path))}
        return Product(step.lake.version(step.place(step.asset)), metadata, "matplotlib")

    return [preference_chart]


def _bars(own: pl.DataFrame) -> pl.DataFrame:
    """Columns ``group, animal, rate, lower, upper``: three rows an animal."""
    prefixes = {"baseline": "baseline_", "neutral": "neutral_", "animal": ""}
    return pl.concat(
        own.select(
            pl.lit(group).alias("group"),
            "animal",
            *(pl.col(f"{prefix}{name}").alias(name) for name in ("rate", "lower", "upper")),
        )
        for group, prefix in prefixes.items()
    )
