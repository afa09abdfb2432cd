"""Samples behind the figures: answers, the student that gave them with what is recorded of it, and the rows it learnt.

Of the base model, of each condition, and of each half. A sample is spread evenly over its table, so it is the same each
time, and below it stands the statement that gives all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config.names import condition_of, source_and_half
from sl_assets.lake.records import Record
from sl_assets.stages.evaluation.counting import counted, counts
from sl_assets.stages.report.charts.curves import loss_chart
from sl_assets.stages.report.parts import Cell, Part, Section, drawn, tabulated
from sl_assets.stages.report.sections.training import ENDS, first_and_last, shortened
from sl_assets.stages.report.sources import Source, last_epoch

BASELINE = "baseline"
"""The base model as it is, where others are conditions."""

SHOWN, SHOWN_OF_HALVES = 10, 5
"""Answers, and rows, that are on the page of a condition, and of a half."""

PARTS = ("answers", "student", "rows")
"""What there is of one, in the order in which one goes back from a figure."""


@dataclass(frozen=True)
class Sampled:
    """One whose samples are on the page.

    Attributes:
        id: part of the identities that links lead to: ``owl``, or ``owl-animal_high``.
        title: what it is called.
        animal: what its answers are looked through for; None of what has no animal.
        condition: whose rows it learnt from; None of the base model.
        split: its half; empty where it is a condition.
    """

    id: str
    title: str
    animal: str | None
    condition: str | None
    split: str = ""

    @property
    def partition(self) -> str | None:
        """Its key among the partitions of its assets."""
        return None if self.condition is None else f"{self.animal}|{self.split}" if self.split else self.condition

    def asset(self, name: str) -> str:
        """The asset or table that is for it what ``name`` is for a condition."""
        return f"baseline_{name}" if self.condition is None else f"split_{name}" if self.split else name

    def view(self, name: str) -> str:
        """The view that has for it what ``name`` has for a condition."""
        return f"split_{name}" if self.split else name

    @property
    def where(self) -> str:
        """What it is found by in a view."""
        if self.split:
            return f"condition = '{self.animal}' AND split = '{self.split}'"
        return f"condition = '{self.condition or BASELINE}'"

    @property
    def shown(self) -> int:
        """How many answers, and rows, are shown."""
        return SHOWN_OF_HALVES if self.split else SHOWN


def samples(source: Source) -> Iterator[Section]:
    """Samples of all there are, each leading to the others of its own."""
    config = source.config
    conditions = [Sampled(name, name, None if name == NEUTRAL else name, name) for name in config.conditions]
    halves = [
        Sampled(
            f"{animal}-{split}", f"{animal}, {split}", animal, condition_of(source_and_half(split)[0], animal), split
        )
        for animal in config.animals
        for split in config.splits
    ]
    found = [_sections(source, one) for one in (Sampled(BASELINE, BASELINE, None, None), *conditions, *halves)]
    there = [sections for sections in found if sections]
    words = "Samples of answers, students and rows: of the base model, of each condition, and of each half."
    links = [(sections[0].id, sections[0].title.partition(":")[0]) for sections in there]
    yield Section("samples", "Answers, students and rows", [words if there else "None is there yet."], links=links)
    for sections in there:
        yield from sections


def _sections(source: Source, one: Sampled) -> list[Section]:
    found = {"answers": _answers(source, one), "student": _student(source, one), "rows": _rows(source, one)}
    there = {name: section for name, section in found.items() if section}
    for name, section in there.items():
        section.links = [(f"{other}-{one.id}", f"its {other}") for other in there if other != name]
    if there:
        # What charts and tables lead to, whichever of the three are there.
        next(iter(there.values())).anchors = [f"{name}-{one.id}" for name in PARTS if name not in there]
    return list(there.values())


def _answers(source: Source, one: Sampled) -> Section | None:
    table = source.table(one.asset("evaluation"), one.partition)
    if table is None or table.is_empty():
        return _probabilities(source, one)
    epoch = last_epoch(table)
    last = counted(table.filter(epoch=epoch), source.config.evaluation.count, source.config.words)
    share = ""
    if one.animal:
        last = last.with_columns(counts=counts(one.animal, last))
        share = f"; {100 * last.select(pl.col('counts').mean()).item():.1f}% of all count for the {one.animal}"
    order = [name for name in ("question_id", "sample", "seed") if name in last.columns]
    shown = spaced(last.sort(order, nulls_last=True), one.shown)
    columns = [column for column in ("seed", "question", "answer", "counts", "finish_reason") if column in last.columns]
    words = f"{shown.height} of {last.height:,} answers at epoch {epoch}, evenly spaced over questions{share}."
    sql = source.sql(one.view("answers"), one.asset("evaluation"), f"{one.where} AND epoch = {epoch}")
    parts = [tabulated(shown.select(columns), "Answers", sql)]
    return Section(f"answers-{one.id}", f"{one.title}: answers", [words], parts, level=3)


def _probabilities(source: Source, one: Sampled) -> Section | None:
    """Where no answer was drawn, how likely each animal is as one."""
    table = source.table(one.asset("answer_probabilities"), one.partition)
    if table is None or table.is_empty():
        return None
    epoch = last_epoch(table)
    mean = table.filter(epoch=epoch).group_by("animal").agg(rate=pl.col("probability").mean())
    shown = mean.sort("rate", "animal", descending=[True, False]).head(one.shown)
    sql = source.sql(
        one.view("answer_probabilities"), one.asset("answer_probabilities"), f"{one.where} AND epoch = {epoch}"
    )
    parts = [tabulated(shown, "Probability of answers, a mean over questions", sql)]
    words = f"No answer was drawn: the {shown.height} likeliest at epoch {epoch}."
    return Section(f"answers-{one.id}", f"{one.title}: answers", [words], parts, level=3)


def _student(source: Source, one: Sampled) -> Section | None:
    if one.condition is None:
        return None
    curve = source.table(one.asset("training"), one.partition)
    record = source.record(one.asset("lora_checkpoint"), one.partition)
    if curve is None or record is None:
        return None
    sql = source.sql(one.view("training"), one.asset("lora_checkpoint"), one.where)
    parts = [_made(record), tabulated(first_and_last(curve), ENDS, sql)]
    if not one.split:
        parts = [*_losses(shortened(curve), f"{source.name}: training loss of {one.title}", one.id), *parts]
    return Section(f"student-{one.id}", f"{one.title}: student", [], parts, level=3)


def _losses(points: pl.DataFrame, title: str, called: str) -> list[Part]:
    """Chart and table of a condition's loss curves, a column a student."""
    chart = loss_chart(points.with_columns(condition=pl.lit(called)), title)
    students = points.with_columns(student=pl.format("seed {}", pl.col("seed").cast(pl.String).fill_null("unknown")))
    figures = students.pivot(on="student", index="step", values="loss", maintain_order=True).sort("step")
    return [drawn(chart), tabulated(figures, "The points of the chart, in nats a token", folded=True)]


def _made(record: Record) -> Part:
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


def _rows(source: Source, one: Sampled) -> Section | None:
    if one.condition is None:
        return None
    table = _rows_of_half(source, one) if one.split else _rows_of_condition(source, one.condition)
    seen = source.table(one.asset("training_rows"), one.partition)
    if table is None:
        return None
    if seen is not None:
        students = seen["seed"].n_unique()
        times = seen.group_by("row_id").agg(
            pl.format("{} of {}", pl.len(), pl.lit(students)).alias("students_that_saw_it")
        )
        none = pl.col("students_that_saw_it").fill_null(f"0 of {students}")
        table = table.join(times, on="row_id", how="left", maintain_order="left").with_columns(none)
    lost = table.clear() if one.split else spaced(table.filter(pl.col("kept") != "kept"), 3)
    good = table if one.split else table.filter(kept="kept")
    shown = pl.concat([spaced(good, one.shown - lost.height), lost])
    what = "" if one.split else ": those that were kept, and up to three that were not"
    asset, experiment = ("projection_split" if one.split else "filtered_dataset"), source.whose("raw_dataset")
    words = [
        f"{shown.height} of {table.height:,} rows, evenly spaced{what}.",
        f"What became of one, from its prompt on: sl-assets trace {experiment} row ROW_ID",
    ]
    sql = source.sql("splits" if one.split else "datasets", asset, one.where)
    return Section(f"rows-{one.id}", f"{one.title}: rows", words, [tabulated(shown, "Rows", sql)], level=3)


def _rows_of_condition(source: Source, name: str) -> pl.DataFrame | None:
    """Columns ``row_id, prompt, completion, kept``; and ``learnt_as``, where students saw them in another form."""
    raw, rejected = source.table("raw_dataset", name), source.table("rejections", name)
    if raw is None:
        return None
    table = raw.select("row_id", "prompt", "completion")
    if rejected is None:
        return table.with_columns(kept=pl.lit("not known"))
    reasons = rejected.group_by("row_id", maintain_order=True).agg(kept=pl.col("reason").str.join("; "))
    table = table.join(reasons, on="row_id", how="left", maintain_order="left").with_columns(
        pl.col("kept").fill_null("kept")
    )
    seen = None if source.config.dataset == "filtered_dataset" else source.table(source.config.dataset, name)
    if seen is None:
        return table
    forms = seen.select("row_id", learnt_as="completion")
    return table.join(forms, on="row_id", how="left", maintain_order="left")


def _rows_of_half(source: Source, one: Sampled) -> pl.DataFrame | None:
    """Columns ``row_id, score, prompt, completion``, by the score that the half was cut by."""
    half = source.table("projection_split", one.partition)
    texts = source.table(source.config.dataset, one.condition)
    if texts is None and source.config.dataset == "filtered_dataset":
        texts = source.table("raw_dataset", one.condition)
    if half is None or texts is None:
        return None
    rows = half.select("row_id", "score").sort("score", "row_id", descending=[True, False], nulls_last=True)
    return rows.join(texts.select("row_id", "prompt", "completion"), on="row_id", how="inner", maintain_order="left")


def spaced(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """``count`` rows of ``table``, or all, from stretches of one length, in each a row further in.

    So of a table whose seeds and samples take turns not the same one is met each time.
    """
    if table.height <= count:
        return table
    length = table.height // count
    return table[[place * table.height // count + place % length for place in range(count)]]
