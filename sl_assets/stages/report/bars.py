"""What charts show of an experiment's tables, and what they are called."""

from collections.abc import Sequence

import polars as pl

from sl_assets.config import ExperimentConfig
from sl_assets.stages.evaluation.power import size_of

BAR = ("rate", "lower", "upper", "students")


def bars_of(own: pl.DataFrame) -> pl.DataFrame:
    """Columns ``group, animal, method, rate, lower, upper, students``: three rows an animal and method.

    ``own`` are rows of ``transfer``, every student on the animal that its teacher loves.
    """
    own = own.with_columns(baseline_students=pl.lit(None, pl.Int64))
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


def headings(name: str, config: ExperimentConfig, own: pl.DataFrame, epochs: Sequence[int]) -> tuple[str, list[str]]:
    """Title and notes of a chart of ``own``, rows of ``transfer``; ``epochs`` are of students, and of halves'."""
    students = own["students"].unique().sort().to_list()
    epoch = f"epoch {epochs[0]}" + (f", of halves {epochs[-1]}" if len(set(epochs)) > 1 else "")
    each = " or ".join(map(str, students)) + (" student" if students == [1] else " students")
    return (
        f"{name}: how often students name the {config.words.kind.name} that their teacher loves",
        [f"base model {config.base_model}, {epoch}, {each} of each condition; {asked(config)}"],
    )


def asked(config: ExperimentConfig) -> str:
    """How many questions each model is asked, and for how many answers."""
    questions, answers = size_of(config.evaluation, config.words, config.evaluation.methods[0])
    return f"{questions} questions, " + (f"{answers:,} answers to each" if answers else "probabilities of answers")


def half_bars(rates: pl.DataFrame, animal: str, split: str, epoch: int) -> pl.DataFrame:
    """Columns as those of `bars_of`: the students of a half on the animal that cut it."""
    return rates.filter(animal=animal, epoch=epoch).select(pl.lit(split).alias("group"), "animal", "method", *BAR)
