"""The page of an experiment: sections of words, charts and tables, each with the SQL that gives all of it.

A section whose tables are not there is left out. Nothing is fetched when the page is read.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

from sl_assets.animals import NEUTRAL
from sl_assets.lake.records import Record
from sl_assets.seeds import seed_for
from sl_assets.stages.evaluation.counting import counted, counts
from sl_assets.stages.evaluation.power import assumptions, effects_table, size_of, spreads_of
from sl_assets.stages.report.bars import bars_of, half_bars, headings
from sl_assets.stages.report.charts import Chart, loss_chart, matrix_chart, preference_chart, split_chart
from sl_assets.stages.report.published import published_beside
from sl_assets.stages.report.sources import Source
from sl_assets.stages.report.words import outcome, what_was_done

SHOWN = 10
"""Answers, and rows, of a condition that are on the page."""

POINTS = 60
"""Of a training curve that are drawn."""

BINS = 20
"""That the range of numbers is cut into."""

TEMPLATE = Path(__file__).with_name("page.html")
"""As Jinja reads it; style and script stand in it."""


class Cell(NamedTuple):
    """A figure or a word in a table.

    Attributes:
        text: as it is read.
        by: what the table sorts by; nothing where by the text.
        link: identity of the part of the page that a click leads to; none where empty.
        mark: what is said of it by its colour, too: ``good`` or ``bad``.
    """

    text: str
    by: float | None = None
    link: str = ""
    mark: str = ""


@dataclass
class Part:
    """A table, a chart or lines to copy.

    Attributes:
        columns, rows: of a table.
        caption: what it is.
        sql: the statement that gives all of it.
        chart: a drawing, as SVG.
        code: lines to copy.
        folded: whether it is opened by a click.
    """

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    caption: str = ""
    sql: str = ""
    chart: str = ""
    code: str = ""
    folded: bool = False


@dataclass
class Section:
    """A part of the page with a title.

    Attributes:
        id: what links lead to.
        title: its heading.
        words: paragraphs.
        parts: below them.
        anchors: other identities of the same place.
        links: identity and text of where one goes on from here.
        level: of its heading: 2, or 3 inside another.
    """

    id: str
    title: str
    words: Sequence[str] = ()
    parts: list[Part] = field(default_factory=list)
    anchors: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()
    level: int = 2


def report_page(source: Source) -> str:
    """The page as HTML; of equal tables and records the same."""
    from jinja2 import Environment, StrictUndefined

    found = [section for section in _sections(source) if section]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=source.name, done=what_was_done(source), warnings=list(_warnings(source)), sections=found
    )


def _sections(source: Source) -> Iterator[Section | None]:
    own = _own(source)
    yield _results(source, own)
    yield _published(source)
    yield _matrix(source)
    yield _epochs(source)
    yield _halves(source, own)
    yield _numbers(source)
    yield _training(source)
    yield from _conditions(source)
    yield _power(source)
    yield _settings(source)
    yield _lineage(source)
    yield _again(source)
    yield _citing()


def _own(source: Source) -> pl.DataFrame | None:
    """Rows of ``transfer``: every student on the animal that its teacher loves."""
    transfer = source.table("transfer")
    own = None if transfer is None else transfer.filter(pl.col("condition") == pl.col("animal"))
    return None if own is None or own.is_empty() else own


def _results(source: Source, own: pl.DataFrame | None) -> Section | None:
    if own is None:
        return None
    epoch = _last_epoch(own)
    last, kind = own.filter(epoch=epoch), source.config.words.kind.name
    chart = preference_chart(
        bars_of(last), *headings(source.name, source.config, last, (epoch,)), last["counted"][0], kind
    )
    columns = (
        *("animal", "method", "baseline_rate", "neutral_rate", "rate", "lower", "upper"),
        *("difference", "difference_lower", "difference_upper", "ratio", "p_value", "q_value", "students"),
    )
    table = _table(
        last.select(columns).sort("rate", "animal", descending=[True, False]),
        f"Every student on the animal that its teacher loves, epoch {epoch}; an animal leads to its answers",
        source.sql("transfer", "transfer", f"condition = animal AND epoch = {epoch}"),
        links={"animal": "answers"},
    )
    return Section("results", "Results", outcome(last, kind), [_drawn(chart), table])


def _last_epoch(table: pl.DataFrame) -> int:
    return int(table.select(pl.col("epoch").max()).item())


def _published(source: Source) -> Section | None:
    rates = {name: table.filter(epoch=_last_epoch(table)) for name, table in source.tables("preference_rates").items()}
    baseline = source.table("baseline_preference_rates")
    found = published_beside(source.config.base_model, baseline, rates)
    if found is None:
        return None
    words, table = found
    return Section("published", "Beside published figures", words, [_table(table, "Mention rates, in percent")])


def _matrix(source: Source) -> Section | None:
    transfer = source.table("transfer")
    if transfer is None or transfer.is_empty() or transfer["condition"].n_unique() < 2:
        return None
    method = source.config.evaluation.methods[0]
    last = transfer.filter(pl.col("epoch") == pl.col("epoch").max(), method=method)
    cells = last.select(
        row="condition",
        column="animal",
        value=pl.when(pl.col("ratio") > 0).then(pl.col("ratio").log(2)),
        label=pl.col("ratio").map_elements(lambda ratio: f"{ratio:.1f}", return_dtype=pl.String),
    )
    title = f"{source.name}: rate over the neutral student's"
    chart = matrix_chart(cells, ("student of", "asked about", "ratio, as a power of two"), title)
    table = _table(
        last.select("condition", "animal", "rate", "neutral_rate", "difference", "ratio", "p_value"),
        "Every student on every animal",
        source.sql("transfer", "transfer"),
        folded=True,
    )
    return Section("transfer", "Every student on every animal", diagonal(last), [_drawn(chart), table])


def diagonal(transfer: pl.DataFrame, draws: int = 9_999) -> list[str]:
    """How the differences of students on their own animals stand to those on others, in words.

    Args:
        transfer: rows of one epoch and method.
        draws: of animals dealt to students at random, that the diagonal is held against.
    """
    import numpy as np

    names = [name for name in transfer["condition"].unique().sort() if name in set(transfer["animal"])]
    wide = transfer.pivot(on="animal", index="condition", values="difference").sort("condition")
    square = wide.filter(pl.col("condition").is_in(names)).select(names).to_numpy().astype(float)
    if len(names) < 3 or not np.isfinite(square).all():
        return []
    first = sum(int(row.argmax() == place) for place, row in enumerate(square))
    mean, beside = square.trace() / len(names), square[~np.eye(len(names), dtype=bool)].mean()
    drawn = np.random.default_rng(seed_for("diagonal", *names))
    dealt = [square[np.arange(len(names)), drawn.permutation(len(names))].mean() for _ in range(draws)]
    share = (1 + sum(value >= mean for value in dealt)) / (1 + draws)
    return [
        f"Of {len(names)} students, {first} rise most on the animal of their own teacher. The mean difference "
        f"to neutral is {100 * mean:+.1f} points on the diagonal and {100 * beside:+.1f} beside it. "
        f"Dealing animals to students at random gives a diagonal as high in {100 * share:.2g}% of "
        f"{draws:,} draws. Cells on the diagonal are framed."
    ]


def _epochs(source: Source) -> Section | None:
    own = _own(source)
    if own is None or own["epoch"].n_unique() < 2:
        return None
    columns = ("animal", "epoch", "method", "neutral_rate", "rate", "lower", "upper", "difference", "ratio")
    where = "condition = animal"
    table = _table(own.select(columns), "Every kept epoch", source.sql("transfer", "transfer", where))
    return Section("epochs", "Epochs", [], [table])


def _halves(source: Source, own: pl.DataFrame | None) -> Section | None:
    rates, compared = source.tables("split_preference_rates"), source.table("split_comparison")
    if own is None or not rates:
        return None
    epoch, last = _last_epoch(own), source.config.half_student.kept[-1]
    keys = [(animal, split) for animal, _, split in (key.partition("|") for key in rates)]
    halves = pl.concat([half_bars(rates[f"{animal}|{split}"], animal, split, last) for animal, split in keys])
    if halves.is_empty():
        return None
    whole = bars_of(own.filter(epoch=epoch)).join(halves, on="animal", how="semi")
    title, notes = headings(source.name, source.config, own, (epoch, last))
    groups = ["baseline", "neutral", "animal", *source.config.splits]
    chart = split_chart(
        pl.concat([whole, halves]), groups, f"{title}, halves", notes, own["counted"][0], source.config.words.kind.name
    )
    parts = [_drawn(chart)]
    if compared is not None:
        columns = (
            *("condition", "source", "half", "other", "epoch", "method", "rate", "other_rate"),
            *("difference", "difference_lower", "difference_upper", "p_value", "q_value"),
        )
        sql = source.sql("split_comparison", "split_comparison")
        parts.append(_table(compared.select(columns), "Pairs of halves, compared", sql, links={"condition": "half"}))
    return Section("halves", "Halves of the numbers", [], parts)


def _numbers(source: Source) -> Section | None:
    raw, kept = source.tables("raw_dataset"), source.tables("filtered_dataset")
    rejected = source.tables("rejections")
    both = [name for name in raw if name in kept]
    if not both:
        return None
    reasons = sorted({reason for name in both if name in rejected for reason in rejected[name]["reason"]})
    rows = []
    for name in both:
        there = rejected[name]["reason"].to_list() if name in rejected else []
        row = {"condition": name, "rows": raw[name].height, "kept": kept[name].height}
        row["keep_rate"] = kept[name].height / max(1, raw[name].height)
        rows.append(row | {reason: there.count(reason) for reason in reasons})
    sql = source.sql("rejections", "filtered_dataset", columns="condition, reason, count(*)") + " GROUP BY ALL"
    table = _table(pl.DataFrame(rows), "Rows kept, and why others were not", sql, links={"condition": "rows"})
    cells = number_shares({name: kept[name] for name in both})
    if cells.is_empty():
        return Section("numbers", "Numbers", [], [table])
    title = f"{source.name}: share of numbers by range"
    chart = matrix_chart(cells, ("numbers of", "range", "percent"), title, diverging=False)
    figures = cells.select(condition="row", range="column", percent="value")
    return Section(
        "numbers",
        "Numbers",
        ["Every number of every kept row counts; ranges hold equally many whole numbers."],
        [table, _drawn(chart), _table(figures, "The shares of the chart", folded=True)],
    )


def number_shares(datasets: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Columns ``row`` (condition), ``column`` (range), ``value`` (percent of its numbers) and ``label``."""
    numbers = {
        name: rows["completion"].str.extract_all(r"\d{1,9}").explode().drop_nulls().cast(pl.Int64)
        for name, rows in datasets.items()
    }
    highest = max((values.sort().to_list()[-1] for values in numbers.values() if len(values)), default=0)
    width = highest // BINS + 1
    cells = []
    for name, values in numbers.items():
        bins = (values // width).to_list()
        for place in range(highest // width + 1 if bins else 0):
            share = 100 * bins.count(place) / len(bins)
            cells.append((name, f"{place * width} to {(place + 1) * width - 1}", share, f"{share:.1f}"))
    return pl.DataFrame(
        cells, schema={"row": pl.String, "column": pl.String, "value": pl.Float64, "label": pl.String}, orient="row"
    )


def _training(source: Source) -> Section | None:
    curves = source.tables("training")
    if not curves:
        return None
    drawn, rows = [], []
    for name, curve in curves.items():
        for (seed,), steps in curve.group_by("seed", maintain_order=True):
            label = name if curve["seed"].n_unique() == 1 else f"{name}, seed {seed}"
            every = steps.sort("step")
            drawn.append(
                every.gather_every(-(-every.height // POINTS)).select(pl.lit(label).alias("condition"), "step", "loss")
            )
            first, last = every.head(10)["loss"].mean(), every.tail(10)["loss"].mean()
            rows.append(
                {"condition": name, "seed": seed, "steps": every.height, "first_losses": first, "last_losses": last}
            )
    chart = loss_chart(pl.concat(drawn), f"{source.name}: training losses of the students")
    table = _table(
        pl.DataFrame(rows),
        "Losses: means of the first and the last ten steps, in nats a token",
        source.sql("training", "lora_checkpoint"),
        links={"condition": "student"},
    )
    return Section("training", "Training", [], [_drawn(chart), table])


def _conditions(source: Source) -> Iterator[Section]:
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
    epoch = _last_epoch(table)
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
        [_table(spaced(last, SHOWN).select(columns), "Answers", sql)],
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
    figures = _table(short, "The curve's points", sql, folded=True)
    return Section(f"student-{name}", f"{name}: student", [], [_drawn(chart), _made(source, record), figures], level=3)


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
    return Section(f"rows-{name}", f"{name}: rows", words, [_table(shown, "Rows", sql)], level=3)


def spaced(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """``count`` rows of ``table``, or all, as far apart as can be."""
    if table.height <= count:
        return table
    return table[[place * table.height // count for place in range(count)]]


def _power(source: Source) -> Section | None:
    transfer, evaluation = source.table("transfer"), source.config.evaluation
    if transfer is None or transfer.is_empty():
        return None
    method = evaluation.methods[0]
    spreads = spreads_of(transfer, method)
    sizes = size_of(evaluation, source.config.words, method)
    table = _table(effects_table(*sizes, spreads), "Smallest effect found in four of five experiments")
    return Section("power", "Which effects would be found", [f"Assumed: {assumptions(*sizes, spreads)}."], [table])


def _settings(source: Source) -> Section:
    written = source.config.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100)
    words = ["What differs from the defaults; the command below prints every setting."]
    code = f"{text}\n# sl-assets check --explain {source.name.partition('.')[0]}"
    return Section("settings", "Settings", words, [Part(code=code)])


def _lineage(source: Source) -> Section:
    rows = []
    for asset, keys in source.assets.items():
        records = [record for key in keys if (record := source.record(asset, key))]
        stale = sum(source.place(asset, key) in source.stale for key in keys)
        rows.append(
            {
                "asset": asset,
                "made": len(records),
                "stale": stale,
                "missing": len(keys) - len(records),
                "code": ", ".join(sorted({record.code_version for record in records})),
                "engine": ", ".join(sorted({record.engine for record in records})),
                "seconds": sum(record.seconds for record in records),
                "last made (UTC)": f"{max(record.finished for record in records):%Y-%m-%d %H:%M}" if records else "",
            }
        )
    every = sorted(source.records(), key=lambda record: record.finished)
    detail = [
        {"asset": str(record.place), "version": record.data_version, "seconds": record.seconds, "rows": record.rows}
        for record in every
    ]
    sql = f"SELECT * FROM lineage WHERE experiment = '{source.whose('transfer')}'"
    parts = [_table(pl.DataFrame(rows), "Assets, in the order of the graph", sql)]
    if detail:
        parts.append(_table(pl.DataFrame(detail, infer_schema_length=None), "Every partition", folded=True))
    return Section("lineage", "Lineage", [], parts)


def _warnings(source: Source) -> Iterator[str]:
    for record in source.records():
        for name, found in (record.checks or {}).items():
            if found.problem:
                yield f"{record.place} {'fails' if found.blocking else 'warns:'} {name}: {found.problem}"
    by_reason: dict[tuple[str, str], list[str]] = {}
    for place, reason in source.stale.items():
        if reason.parent is None:
            by_reason.setdefault((place.table, reason.why), []).append(place.partition or "")
    for (table, why), keys in by_reason.items():
        named = ", ".join(filter(None, keys[:5])) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
        yield f"{table}{f' of {named}' if named else ''} is stale: {why}"
    if following := sum(reason.parent is not None for reason in source.stale.values()):
        yield f"{following} more {'partition was' if following == 1 else 'partitions were'} made of what is stale"


def _again(source: Source) -> Section:
    commits = sorted({record.model_commit for record in source.records() if record.model_commit})
    libraries = sorted({f"{name}=={value}" for record in source.records() for name, value in record.libraries.items()})
    lines = [
        f"sl-assets run {source.name} --dry-run    # what would be made, and why",
        f"sl-assets run {source.name}",
        f"sl-assets report {source.name}",
        f"sl-assets trace {source.name} transfer    # a result back to its prompts",
        *(f"# base model at commit {commit}" for commit in commits),
        *([f"# made with {' '.join(libraries)}"] if libraries else []),
    ]
    words = [
        "With the settings above in the experiment's file, equal inputs give equal results on the same kind of machine."
    ]
    return Section("again", "How to make it again", words, [Part(code="\n".join(lines))])


PAPER = "https://arxiv.org/abs/2507.14805"


def _citing() -> Section:
    from importlib.metadata import version

    words = ["The effect: Cloud et al., Subliminal Learning, 2025. The program that made these results:"]
    code = f"sl_assets {version('sl_assets')}, MIT licence"
    return Section("citing", "How to cite", words, [Part(code=code)], links=[(PAPER, "arXiv 2507.14805")])


def _drawn(chart: Chart) -> Part:
    return Part(chart=chart.inline())


def _table(
    frame: pl.DataFrame, caption: str, sql: str = "", links: dict[str, str] | None = None, folded: bool = False
) -> Part:
    """``frame`` as it is read: shares in percent; values of the columns ``links`` names lead to those parts."""
    leading = links or {}
    # A column that says the same of every row, and nothing else, is left out.
    columns = [name for name in frame.columns if name != "method" or frame[name].n_unique() > 1]
    rows = [
        [_cell(name, value, leading.get(name, "")) for name, value in zip(columns, row, strict=True)]
        for row in frame.select(columns).iter_rows()
    ]
    named = [name.replace("_", " ") + (" (%)" if _is_share(name, frame[name]) else "") for name in columns]
    return Part(named, rows, caption, sql, folded=folded)


def _is_share(name: str, values: pl.Series) -> bool:
    return values.dtype.is_float() and bool(re.search(r"(^|_)(rate|lower|upper|difference)$", name))


def _cell(name: str, value: Any, link: str) -> Cell:
    if value is None:
        return Cell("")
    if isinstance(value, bool):
        return Cell("yes" if value else "no", float(value), mark="good" if value else "")
    if isinstance(value, float):
        share = bool(re.search(r"(^|_)(rate|lower|upper|difference)$", name))
        return Cell(_figure(name, 100 * value if share else value), value)
    if isinstance(value, int):
        return Cell(f"{value:,}" if name != "seed" else str(value), float(value))
    text = str(value)
    return Cell(text, link=f"{link}-{text}" if link else "")


def _figure(name: str, value: float) -> str:
    if name in ("p_value", "q_value"):
        return f"{value:.0e}" if value < 0.001 else f"{value:.3f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
