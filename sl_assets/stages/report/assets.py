"""Stage 7: pictures of the results."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import polars as pl
from pydantic_core import to_jsonable_python

from sl_assets.config.names import called
from sl_assets.config.variants import Changes, changes_of
from sl_assets.errors import DatasetError
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Records
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.declaration import Dep
from sl_assets.orchestration.metadata import FilePath, picture, preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.evaluation.rates import intervals_over, with_columns_of
from sl_assets.stages.report.bars import bars_of, half_bars, headings
from sl_assets.stages.report.charts.chart import Chart
from sl_assets.stages.report.charts.rates import preference_chart as draw_chart
from sl_assets.stages.report.charts.rates import split_chart as draw_split_chart
from sl_assets.stages.report.charts.rates import variants_chart as draw_variants_chart
from sl_assets.stages.report.page import report_page
from sl_assets.stages.report.sources import REPORTED, Source
from sl_assets.stages.report.variants import Results, last_epochs, variants_table

STAGE = "7_report"


def report_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 7."""
    epoch = graph.config.student.kept[-1]

    @graph.asset(
        stage=STAGE,
        code="3",
        uses=["student.kept", *graph.config.own_words("kind")],
        deps=["transfer"],
        by=None,
        kinds=["vega"],
    )
    def preference_chart(step: Step) -> Product:
        """Baseline, neutral and animal rates of every animal evaluated, with one kind of interval."""
        own = with_columns_of("transfer", step.read("transfer")).filter(
            pl.col("condition") == pl.col("animal"), epoch=epoch
        )
        if own.is_empty():
            raise DatasetError(
                f"{step.experiment}: no student has been evaluated at epoch {epoch} yet; materialise evaluation"
            )
        bars = bars_of(own)
        title, notes = headings(called(graph.name), graph.config, own, (epoch,))
        return _stored(step, draw_chart(bars, title, notes, own["counted"][0], graph.config.words.kind.name), bars)

    @graph.asset(
        stage=STAGE,
        code="2",
        uses=[],
        deps=[name for name in REPORTED if name in graph.assets],
        by=None,
        kinds=["html"],
        automatic=False,
    )
    def experiment_report(step: Step) -> Product:
        """A page of the experiment that needs nothing beside it: what was done, results with their charts, samples of
        answers and rows, settings, what is stale or fails a check, and how to make it again.
        """
        for parent in graph.parents(step.asset, None):
            if record := step.lake.record(parent):
                step.lake.reads[parent] = record.data_version
        page = report_page(source_of(graph, step.lake.apart())).encode()
        path = step.lake.path(step.place(step.asset)) / "experiment_report.html"
        step.lake.write_file(path, page, step.place(step.asset))
        # Times and runs, which are on the page, make it no other.
        read = sorted([str(parent), version] for parent, version in step.lake.reads.items())
        version = digest(read, graph.config.model_dump(mode="json"))
        return Product(version, {"page": FilePath(str(path)), "bytes": len(page)}, "jinja2")

    if not graph.config.splits:
        return [preference_chart, experiment_report]

    @graph.asset(
        stage=STAGE,
        code="3",
        uses=[
            "splits",
            "student.kept",
            *(["half_student.kept"] if graph.config.split_student else []),
            *graph.config.own_words("kind"),
        ],
        deps=["transfer", "split_preference_rates"],
        by=None,
        kinds=["vega"],
    )
    def split_chart(step: Step) -> Product:
        """For every animal the baseline, neutral and animal rates beside those of the halves' students."""
        own = with_columns_of("transfer", step.read("transfer")).filter(
            pl.col("condition") == pl.col("animal"), epoch=epoch
        )
        last = graph.config.half_student.kept[-1]
        halves = _halves(step, graph, last)
        if halves.is_empty():
            raise DatasetError(f"{step.experiment}: no student of a half has been evaluated at epoch {last} yet")
        bars = pl.concat([bars_of(own).join(halves, on="animal", how="semi"), halves])
        groups = ["baseline", "neutral", "animal", *graph.config.splits]
        title, notes = headings(called(graph.name), graph.config, own, (epoch, last))
        counted, kind = own["counted"][0], graph.config.words.kind.name
        return _stored(step, draw_split_chart(bars, groups, f"{title}, halves", notes, counted, kind), bars)

    return [preference_chart, split_chart, experiment_report]


def variants_assets(graph: ExperimentGraph, others: Mapping[str, ExperimentGraph]) -> list[dg.AssetsDefinition]:
    """The asset that compares an experiment with ``others``, its variants as they are declared; none without them."""
    if not others:
        return []
    changes: dict[str, Changes] = {graph.name: {}} | changes_of(graph.config)
    compared = {graph.name: graph} | dict(others)
    # Results that a variant shares with the experiment are read once.
    read: dict[str, ExperimentGraph] = {}
    for its in compared.values():
        read.setdefault(its.owner("transfer").name, its)
    deps = [Dep("transfer", experiment=None if its is graph else its.name) for its in read.values()]

    def settings_that_differ(_: Place, __: Records) -> dict[str, Any]:
        """What a variant is called, and what it changes, are columns."""
        return {"variants": [[name, to_jsonable_python(changes[name])] for name in compared]}

    @graph.asset(
        stage=STAGE, code="3", uses=[], deps=deps, by=None, kinds=["polars", "vega"], inputs=settings_that_differ
    )
    def variants(step: Step) -> Product:
        """The experiment and its variants compared on the effect: how much more each student names the animal that its
        teacher loves than the neutral student of the same variant does. Variants without results yet are left out.
        """
        results: dict[str, Results] = {}
        for name, its in compared.items():
            place = its.place("transfer")
            if step.lake.exists(place):
                step.require_passed(place)
                results[name] = Results(place.experiment, changes[name], step.lake.read_table(place))
            else:
                step.log(f"{step.name}: {name} left out, for {place} is not there yet")
        table = variants_table(results)
        if table.is_empty():
            raise DatasetError(f"{step.experiment}: no student of a variant has been evaluated yet; run the variants")
        version, last = step.write(table), last_epochs(table)
        name = called(graph.name)
        title = f"{name} and its variants: how much more students name what their teacher loves than neutral ones"
        chart = draw_variants_chart(last, title, [f"base model {graph.config.base_model}, each at its last epoch"])
        png = chart.png()
        step.write_picture(png)
        step.write_drawing(chart.svg())
        shown = (
            *("variant", "animal", "epoch", "method", "students", "neutral_rate", "rate"),
            *("difference", "difference_lower", "difference_upper", "ratio", "q_value"),
        )
        metadata = {"rows": table.height, "chart": picture(png), "effects": preview(last.select(shown), last.height)}
        metadata["intervals"] = intervals_over(
            last.select(pl.min_horizontal("students", "neutral_students")).to_series()
        )
        return Product(version, metadata)

    return [variants]


def _stored(step: Step, chart: Chart, bars: pl.DataFrame) -> Product:
    """Chart as PNG and SVG in the lake, and the figures that it shows as a table."""
    png, place = chart.png(), step.place(step.asset)
    version = step.write_picture(png)
    metadata = {
        "chart": picture(png),
        "figures": preview(bars, bars.height),
        "path": FilePath(str(step.lake.picture(place))),
        "drawing": FilePath(str(step.write_drawing(chart.svg()))),
    }
    return Product(version, metadata, "vega")


def source_of(graph: ExperimentGraph, lake: Lake) -> Source:
    """What a report of the experiment is made of, as it is in ``lake`` now."""
    # What only a person makes is no result.
    names = [name for name, owner in graph.assets.items() if owner.declared[name].automatic]
    assets = {name: graph.keys(graph.declaration(name).by) for name in sorted(names, key=_stage(graph))}
    staleness = graph.staleness(lake)
    places = [graph.place(name, key) for name, keys in assets.items() for key in keys]
    reasons = {place: staleness.reason(place) for place in places if staleness.record(place)}
    stale = {place: reason for place, reason in reasons.items() if reason}
    return Source(called(graph.name), graph.config, lake, assets, graph.place, stale)


def _stage(graph: ExperimentGraph) -> Callable[[str], str]:
    return lambda name: graph.declaration(name).stage


def _halves(step: Step, graph: ExperimentGraph, epoch: int) -> pl.DataFrame:
    """Columns ``group, animal, method, rate, lower, upper, students``: a row a half, on the animal that cut it."""
    rates = step.read_existing("split_preference_rates", [key for key in graph.keys("split") if key])
    bars = [
        half_bars(with_columns_of("split_preference_rates", found), animal, split, epoch)
        for (animal, split), found in ((keys_of(key), found) for key, found in rates.items())
    ]
    return pl.concat(bars) if bars else pl.DataFrame(schema={"animal": pl.String()})
