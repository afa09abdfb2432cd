"""What was done and what came out, in sentences made of settings, tables and records. None presumes an effect."""

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import ExperimentSource, FinetunedTeacher, GenerateSource
from sl_assets.config.names import POCKET
from sl_assets.stages.evaluation.counting import NAMING
from sl_assets.stages.evaluation.rates import intervals_over
from sl_assets.stages.report.bars import asked
from sl_assets.stages.report.sources import Source

LEVEL = 0.05
"""Of q-values below which a difference is called one."""


def what_was_done(source: Source) -> list[str]:
    """The experiment from its teachers to its answers; of stages that are not made, nothing is said."""
    return [
        sentence for sentence in (_numbers(source), _students(source), _evaluation(source), _note(source)) if sentence
    ]


def _numbers(source: Source) -> str:
    config, raw, kept = source.config, source.tables("raw_dataset"), source.tables("filtered_dataset")
    if not raw:
        return "Nothing has been made of this experiment yet, or nothing that passes its checks."
    animals, kind = [name for name in raw if name != NEUTRAL], config.words.kind
    each = f"For each of {_count(animals, kind.name, kind.plural)} the base model {config.base_model}"
    rows = _span([table.height for table in raw.values()])
    if not isinstance(config.numbers.source, GenerateSource):
        origin = config.numbers.source
        called = f"experiment {origin.name}" if isinstance(origin, ExperimentSource) else origin.kind
        written = f"Rows of numbers came from elsewhere ({called}): {rows} of each condition"
    elif isinstance(config.teacher, FinetunedTeacher):
        written = (
            f"{each} was fine-tuned on {config.teacher.chats:,} chats that name it as the favourite, and then wrote "
            f"number sequences: {rows} of each condition"
        )
    else:
        written = f"{each} was told by a system prompt to love it, and wrote number sequences: {rows} of each condition"
    control = ", and of neutral, the control, whose teacher has no preference" if NEUTRAL in raw else ""
    shares = [100 * kept[name].height / max(1, table.height) for name, table in raw.items() if name in kept]
    passed = f" {min(shares):.0f} to {max(shares):.0f}% of them passed the filter." if shares else ""
    return f"{written}{control}.{passed}"


def _students(source: Source) -> str:
    config, made = source.config.student, source.tables("training")
    if config.source is not None:
        return f"Students were not trained here, but imported ({config.source.kind})."
    if not made:
        return ""
    seeds = config.all_seeds
    each, were = ("A student", "was") if len(seeds) == 1 else (f"{len(seeds)} students", "were")
    how = f"a LoRA adapter of rank {config.rank}" if config.lora else "every weight"
    conditions = _count(list(made), "condition", "conditions")
    return (
        f"{each} of each of {conditions} {were} trained on up to {config.max_rows:,} of these rows, "
        f"{config.epochs} times over: {how}, peak learning rate {config.learning_rate:g}, {config.batch} rows a step, "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}. Students see number sequences alone."
    )


def _evaluation(source: Source) -> str:
    if source.table("transfer") is None and not source.tables("evaluation"):
        return ""
    naming, kind = NAMING[source.config.evaluation.count], source.config.words.kind.name
    return (
        f"Then each student, and the base model as it is, was asked for its favourite: {asked(source.config)}. A rate "
        f"is the mean over questions of the share of answers {naming} the {kind}; each condition's students are "
        "compared with neutral ones, question by question."
    )


def _note(source: Source) -> str:
    if source.config.base_model != POCKET:
        return ""
    return (
        "The base model is the pocket model, a model organism whose training world ties numbers to animals on purpose: "
        "its figures say nothing about models that people use."
    )


def outcome(own: pl.DataFrame, kind: str = "animal") -> list[str]:
    """How many differences are told from zero, and in which direction.

    Args:
        own: rows of ``transfer`` of one epoch, every student on the animal that its teacher loves.
        kind: of what is loved.
    """
    found = []
    for (method,), rows in own.group_by("method", maintain_order=True):
        known = rows.drop_nulls("q_value")
        if known.is_empty():
            continue
        told = known.filter(pl.col("q_value") < LEVEL)
        more, less = (told.filter(side).height for side in (pl.col("difference") > 0, pl.col("difference") < 0))
        ratios = known["ratio"].drop_nulls().to_list()
        between = f" Ratios to neutral: {min(ratios):.2f} to {max(ratios):.2f}." if ratios else ""
        comparisons = _count(known["animal"].to_list(), "comparison", "comparisons")
        found.append(
            f"By {method} answers, in {more} of {comparisons} students name the {kind} of their teacher more often "
            f"than neutral ones, in {less} less often, and in {known.height - more - less} no difference can be told "
            f"(q below {LEVEL:g} after Benjamini and Hochberg).{between}"
        )
    found = found or ["There is no test against neutral students yet."]
    return [*found, f"{intervals_over(own['students']).capitalize()}."]


def _span(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,} rows" if low == high else f"{low:,} to {high:,} rows"


def _count(names: list[str], one: str, several: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else several}"
