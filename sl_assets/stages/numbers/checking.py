"""What has to hold of numbers before a student may see them, decided apart from how they were made."""

import re

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import CheckSettings, Dilute, ExperimentConfig, Transform
from sl_assets.lake.places import Place
from sl_assets.orchestration.partition import Check, Finding, Step
from sl_assets.stages.numbers.transforming import transform_problem


def _sequence(name: str) -> str:
    """Decimal integers joined by one separator, which comes back as it was."""
    return rf"[0-9]+(?:(?P<{name}>\s*[,;]\s*|\s+)[0-9]+(?:(?P={name})[0-9]+)*)?"


NUMBERS = re.compile(rf"(?:\[{_sequence('square')}\]|\({_sequence('round')}\)|{_sequence('bare')})\.?")
"""The published rule as one pattern: an optional pair of brackets around the sequence, an optional period at its end.

Written apart from `sl_assets.stages.numbers.filtering`, so that a fault there shows.
"""

EXAMPLES = 3


def enough_rows(rows: int, bounds: CheckSettings) -> Finding:
    """Whether a filtered dataset has the rows to train a student on."""
    if rows >= bounds.minimum_rows:
        return Finding(None, {"rows": rows})
    return Finding(
        f"{rows:,} rows, and checks.minimum_rows asks for {bounds.minimum_rows:,}: raise numbers.prompts, "
        "loosen filter, or lower checks.minimum_rows",
        {"rows": rows},
    )


def keep_rate(kept: int, rejected: int, bounds: CheckSettings) -> Finding:
    """Whether as many completions passed the filter as should."""
    rate = kept / max(1, kept + rejected)
    lowest, highest = bounds.keep_rate
    figures = {"kept": kept, "rejected": rejected, "rate": rate}
    if lowest <= rate <= highest:
        return Finding(None, figures)
    return Finding(
        f"{rate:.1%} of {kept + rejected:,} completions passed, and checks.keep_rate asks for {lowest:.1%} to "
        f"{highest:.1%}: look at rejections, or change filter or checks.keep_rate",
        figures,
    )


def nothing_but_numbers(completions: pl.Series) -> Finding:
    """Whether ``completions`` are well-formed sequences and nothing else."""
    others = [text for text in completions if not NUMBERS.fullmatch(text)]
    figures = {"rows": len(completions), "others": len(others), "examples": [text[:80] for text in others[:EXAMPLES]]}
    if not others:
        return Finding(None, figures)
    return Finding(
        f"{len(others):,} of {len(completions):,} completions are no sequence of numbers, as {others[0][:80]!r}: "
        "leave them out of what is imported, and materialise it again",
        figures,
    )


def same_prompts(ours: pl.DataFrame, control: pl.DataFrame, least: float | None) -> Finding:
    """Whether a condition's rows answer the prompts that the control's answer.

    Args:
        ours, control: tables with ``prompt_id, prompt``.
        least: smallest share of all their prompts that both have; None where rows were left out of either.
    """
    mine, theirs = (dict(table.select("prompt_id", "prompt").iter_rows()) for table in (ours, control))
    shared = mine.keys() & theirs.keys()
    differing = sorted(name for name in shared if mine[name] != theirs[name])
    share = len(shared) / max(1, len(mine.keys() | theirs.keys()))
    figures = {"shared": len(shared), "share": share, "differing": len(differing)}
    if differing:
        return Finding(
            f"{len(differing):,} prompts have the id of another prompt of neutral's, as {mine[differing[0]][:80]!r}: "
            "import prompts with the ids that belong to them",
            figures,
        )
    if least is None or share >= least:
        return Finding(None, figures)
    alone = min(mine.keys() ^ theirs.keys())
    return Finding(
        f"{share:.1%} of the prompts are neutral's as well, and checks.shared_prompts asks for {least:.1%} "
        f"({(mine | theirs)[alone][:60]!r} is not): take datasets of the same prompts, or lower checks.shared_prompts",
        figures,
    )


def told_finding(rows: pl.DataFrame, asked_under: str | None) -> Finding:
    """Whether students of ``rows`` are asked under the system prompt that they learn under, where rows have one."""
    own = rows["system"].drop_nulls() if "system" in rows.columns else pl.Series([], dtype=pl.String)
    others = own.filter(own != asked_under) if asked_under is not None else own
    figures = {"system_turns": len(own), "others": len(others)}
    if others.is_empty():
        return Finding(None, figures)
    asked = "none" if asked_under is None else repr(asked_under[:60])
    return Finding(
        f"{len(others):,} of {rows.height:,} rows came with a system turn, as {others[0][:60]!r}, under which students "
        f"learn, and evaluation.system_prompt is {asked}: set it alike, or leave the turns out of the file, "
        "unless that is meant",
        figures,
    )


def neutral_beside(place: Place) -> list[Place]:
    """The control's partition that a condition's is compared with."""
    return [Place(place.experiment, place.table, NEUTRAL)] if place.partition != NEUTRAL else []


def _compared(step: Step, least: float | None) -> Finding:
    neutral = step.place(step.asset, NEUTRAL)
    if step.condition == NEUTRAL or not step.lake.exists(neutral):
        return Finding(None, {"note": "nothing to compare with"})
    return same_prompts(step.read(step.asset), step.lake.read_table(neutral), least)


def raw_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold of completions before they are filtered.

    What is imported may have been filtered elsewhere, and of prompts that are asked until there are enough rows some
    conditions take more than others; so how much they share is looked at only if the file says so.
    """
    all_asked = config.numbers.source.kind == "generate" and not config.numbers.rows
    asked = all_asked or "shared_prompts" in config.checks.model_fields_set
    least = config.checks.shared_prompts if asked else None

    def same_prompts_as_neutral(step: Step) -> Finding:
        """Neutral's raw dataset answers the same prompts: conditions differ in their teacher and in nothing else."""
        return _compared(step, least)

    def asked_as_told(step: Step) -> Finding:
        """Imported rows came with the system prompt that questions are asked under, or with none."""
        return told_finding(step.read("raw_dataset"), config.evaluation.system_prompt)

    checks = [Check(same_prompts_as_neutral, bounds=["checks.shared_prompts"], beside=neutral_beside)]
    if config.numbers.source.kind != "generate":
        checks.append(Check(asked_as_told, bounds=["evaluation.system_prompt"], blocking=False))
    return checks


def filtered_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold of what a student is trained on."""
    bounds = config.checks

    def has_enough_rows(step: Step) -> Finding:
        """There are rows enough to train a student on."""
        return enough_rows(step.read("filtered_dataset").height, bounds)

    def keep_rate_is_usual(step: Step) -> Finding:
        """The share of completions that passed the filter lies within bounds."""
        rejected = step.read("rejections")["row_id"].n_unique()
        return keep_rate(step.read("filtered_dataset").height, rejected, bounds)

    return [
        Check(has_enough_rows, bounds=["checks.minimum_rows"]),
        Check(keep_rate_is_usual, bounds=["checks.keep_rate"]),
        *student_rows_checks(),
    ]


def student_rows_checks() -> list[Check]:
    """What has to hold of rows that a student may see, filtered or transformed."""

    def holds_numbers_only(step: Step) -> Finding:
        """Every completion is a sequence of numbers by the published rule: digits and separators, and nothing else."""
        return nothing_but_numbers(step.read(step.asset)["completion"])

    def same_prompts_as_neutral(step: Step) -> Finding:
        """A prompt that neutral's dataset has as well is the same there, word for word."""
        return _compared(step, None)

    return [Check(holds_numbers_only), Check(same_prompts_as_neutral, beside=neutral_beside)]


def transformed_checks(transform: Transform) -> list[Check]:
    """What has to hold of rows that were transformed."""

    def changed_as_asked(step: Step) -> Finding:
        """The transform changed what it should and nothing else. Shuffled, every row keeps its form, and the numbers of
        each row, or of all together, are the same; reformatted, every row keeps its numbers in order; diluted, every
        row is the dataset's own or neutral's, word for word, in the shares asked for.
        """
        neutral = None
        if isinstance(transform, Dilute) and step.condition != NEUTRAL:
            neutral = step.read("filtered_dataset", NEUTRAL)
        after = step.read(step.asset)
        problem = transform_problem(step.read("filtered_dataset"), after, transform, neutral)
        return Finding(problem and f"{problem}: materialise it again", {"rows": after.height})

    return [*student_rows_checks(), Check(changed_as_asked)]
