"""Stage 6: pictures of the results."""

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.errors import DatasetError
from sl_assets.graph import ExperimentGraph
from sl_assets.lake.fingerprint import digest
from sl_assets.report.charts import preference_chart as draw_chart
from sl_assets.report.metadata import picture
from sl_assets.step import Product, Step

STAGE = "6_report"


def report_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 6."""

    @graph.asset(
        stage=STAGE,
        uses=[],
        deps=["transfer", "preference_rates", "baseline_preference_rates"],
        partitioned=False,
        kinds=["matplotlib"],
    )
    def preference_chart(step: Step) -> Product:
        """Baseline, neutral and animal bars for every animal evaluated, with one kind of interval."""
        table = step.read("transfer").filter(pl.col("condition") == pl.col("animal"))
        if table.is_empty():
            raise DatasetError(f"{step.experiment}: no animal's student has been evaluated yet; materialise evaluation")
        epoch = table["epoch"].max()
        bars = _bars(step, table.filter(epoch=epoch))
        png = draw_chart(bars, int(epoch))  # type: ignore[arg-type]
        path = step.lake.root / f"experiment={step.experiment}" / "preference_chart" / "preference_chart.png"
        step.lake.write_file(path, png)
        metadata = {"chart": picture(png), "path": dg.MetadataValue.path(str(path))}
        return Product(digest(bars.to_dicts()), metadata, "matplotlib")

    return [preference_chart]


def _bars(step: Step, table: pl.DataFrame) -> pl.DataFrame:
    columns = ["animal", "rate", "lower", "upper"]
    wanted = table.select("animal", "epoch")
    baseline = step.read("baseline_preference_rates").join(wanted, on="animal", how="semi")
    neutral = step.read("preference_rates", NEUTRAL).join(wanted, on=["animal", "epoch"], how="semi")
    groups = {"baseline": baseline, "neutral": neutral, "animal": table}
    return pl.concat(rows.select(pl.lit(group).alias("group"), *columns) for group, rows in groups.items())
