"""Of each condition samples: its answers, its student with what is recorded of it, and the rows it learnt from."""

from collections.abc import Iterator

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.lake.records import Record
from sl_assets.stages.evaluation.counting import counted, counts
from sl_assets.stages.report.charts.curves import loss_chart
from sl_assets.stages.report.parts import Cell, Part, Section, drawn, tabulated
from sl_assets.stages.report.sections.training import POINTS
from sl_assets.stages.report.sources import Source, last_epoch

SHOWN = 10
"""Answers, and rows, of a condition that are on the page."""


def conditions(source: Source) -> Iterator[Section]:
    """Of each condition answers, its student and rows, each leading to the others."""
    answers, raw, curves = source.tables("evaluation"), source.tables("raw_dataset"), source.tables("training")
    there = [name for name in source.config.conditions if name in answers or name in raw or name in curves]
    if there:
        yield Section("conditions", "Answers, students and rows", [f"Ten of each of {len(there)} conditions."])
    for name in there:
        here = [part for part, tables in (("answers", answers), ("student", curves), ("rows", raw)) if name in tables]
        for part in here:
            section = {"answers": _answers, "student": _student, "rows": _rows}[part](source, name)
            section.links = [(f"{other}-{name}", f"its {other}") for other in here if other != part]
            # What charts and tables lead to, whichever of the three are there.
            section.anchors = [
                f"{other}-{name}"
                for other in ("answers", "student", "rows", "half")
                if part == here[0] and other not in here
            ]
            yield section


def _answers(source: Source, name: str) -> Section:
    table = source.table("evaluation", name)
    assert table is not None
    epoch = last_epoch(table)
    last = counted(table.filter(epoch=epoch), source.config.evaluation.count, source.config.words)
    if name != NEUTRAL:
        last = last.with_columns(counts=counts(name, last))
    last = last.sort("question_id", "sample", "seed", nulls_last=True) if "seed" in last.columns else last
    columns = [column for column in ("seed", "question", "answer", "counts", "finish_reason") if column in last.columns]
    share = (
        ""
        if name == NEUTRAL
        else f"; {100 * last.select(pl.col('counts').mean()).item():.1f}% of all count for the {name}"
    )
    words = [
        f"{min(SHOWN, last.height)} of {last.height:,} answers at epoch {epoch}, evenly spaced over questions{share}."
    ]
    sql = source.sql("answers", "evaluation", f"condition = '{name}' AND epoch = {epoch}")
    return Section(
        f"answers-{name}",
        f"{name}: answers",
        words,
        [tabulated(spaced(last, SHOWN).select(columns), "Answers", sql)],
        level=3,
    )


def _student(source: Source, name: str) -> Section:
    curve, record = source.table("training", name), source.record("lora_checkpoint", name)
    assert curve is not None
    assert record is not None
    short = curve.sort("step").gather_every(-(-curve.height // POINTS))
    chart = loss_chart(
        short.select(
            pl.format("seed {}", pl.col("seed").cast(pl.String).fill_null("unknown")).alias("condition"), "step", "loss"
        ),
        f"{source.name}: training loss of the student of {name}",
    )
    sql = source.sql("training", "lora_checkpoint", f"condition = '{name}'")
    figures = tabulated(short, "The curve's points", sql, folded=True)
    return Section(f"student-{name}", f"{name}: student", [], [drawn(chart), _made(source, record), figures], level=3)


def _made(source: Source, record: Record) -> Part:
    facts = {
        "version": record.data_version,
        "made": f"{record.finished:%Y-%m-%d %H:%M} UTC in {record.seconds:.1f} s by {record.engine}",
        "code": record.code_version,
        "run": record.run_id,
        "students": ", ".join(f"seed {seed}: {version}" for seed, version in record.students.items()),
        "libraries": ", ".join(f"{name} {version}" for name, version in record.libraries.items()),
        "read": ", ".join(f"{place} {version}" for place, version in record.parents.items()),
    }
    rows = [[Cell(name), Cell(value)] for name, value in facts.items() if value]
    where = f"asset = '{record.place.table}' AND partition = '{record.place.partition}'"
    sql = f"SELECT * FROM lineage WHERE experiment = '{record.place.experiment}' AND {where}"
    return Part(("what", "is"), rows, "Its record", sql)


def _rows(source: Source, name: str) -> Section:
    raw, kept = source.table("raw_dataset", name), source.table("filtered_dataset", name)
    rejected = source.table("rejections", name)
    assert raw is not None
    reasons = (
        dict(rejected.group_by("row_id").agg(pl.col("reason").str.join("; ")).iter_rows())
        if rejected is not None
        else {}
    )
    ids = set(kept["row_id"]) if kept is not None else set()
    table = raw.select("row_id", "prompt", "completion").with_columns(
        kept=pl.col("row_id").replace_strict(reasons, default=None, return_dtype=pl.String)
        if reasons
        else pl.lit(None, pl.String)
    )
    table = table.with_columns(
        kept=pl.when(pl.col("row_id").is_in(list(ids)))
        .then(pl.lit("kept"))
        .otherwise(pl.col("kept").fill_null("not filtered yet"))
    )
    lost = spaced(table.filter(pl.col("kept") != "kept"), 3)
    shown = pl.concat([spaced(table.filter(kept="kept"), SHOWN - lost.height), lost])
    sql = source.sql("datasets", "filtered_dataset", f"condition = '{name}'")
    words = [
        f"{shown.height} of {raw.height:,} rows, evenly spaced: those that were kept, and up to three that were not."
    ]
    return Section(f"rows-{name}", f"{name}: rows", words, [tabulated(shown, "Rows", sql)], level=3)


def spaced(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """``count`` rows of ``table``, or all, as far apart as can be."""
    if table.height <= count:
        return table
    return table[[place * table.height // count for place in range(count)]]
