"""What has to hold of answers before a rate says anything."""

from collections.abc import Sequence

import polars as pl

from sl_assets.animals import NEUTRAL, PLURALS
from sl_assets.config import CheckSettings, ExperimentConfig
from sl_assets.lake.places import Place
from sl_assets.orchestration.partition import Check, Finding, Step
from sl_assets.stages.evaluation.rates import preference_rates

EXAMPLES = 3
ADVICE = (
    "raise evaluation.max_tokens, set evaluation.system_prompt, take an instruct model, "
    "or change checks.usable_answers or cut_answers"
)


def answers_finding(answers: pl.DataFrame, bounds: CheckSettings) -> Finding:
    """Whether ``answers`` (an ``evaluation`` table) are names, and whole, at every epoch."""
    bare = (pl.col("normalised").str.contains(r"^\S+$") | pl.col("normalised").is_in(list(PLURALS))).fill_null(False)
    shares = (
        answers.with_columns(usable=bare, cut=pl.col("finish_reason") == "length")
        .group_by("epoch")
        .agg(pl.col("usable").mean(), pl.col("cut").mean())
        .sort("epoch")
    )
    usable, cut = float(shares["usable"].min() or 0.0), float(shares["cut"].max() or 0.0)  # type: ignore[arg-type]
    figures = {"usable": usable, "cut": cut}
    if usable >= bounds.usable_answers and cut <= bounds.cut_answers:
        return Finding(None, figures)
    poor = ~bare if usable < bounds.usable_answers else pl.col("finish_reason") == "length"
    examples = answers.filter(poor)["answer"].unique(maintain_order=True).head(EXAMPLES).to_list()
    shown = ", ".join(repr(example[:60]) for example in examples)
    return Finding(
        f"{usable:.1%} of the answers are a bare name (checks.usable_answers: {bounds.usable_answers:.1%}) and "
        f"{cut:.1%} were cut at max_tokens (checks.cut_answers: {bounds.cut_answers:.1%}), as {shown}: {ADVICE}",
        figures | {"examples": examples},
    )


def masses_finding(answers: pl.DataFrame, bounds: CheckSettings) -> Finding:
    """Whether ``answers`` (an ``answer_probabilities`` table) name an animal often enough, at every epoch."""
    masses = answers.group_by("epoch").agg(pl.col("mass").mean()).sort("mass", "epoch")
    epoch, mass = masses.row(0)
    figures = {"mass": mass}
    if mass >= bounds.usable_answers:
        return Finding(None, figures)
    return Finding(
        f"answers that name an animal have {mass:.1%} of the probability at epoch {epoch} (checks.usable_answers: "
        f"{bounds.usable_answers:.1%}): set evaluation.system_prompt, take an instruct model, add the animals that it "
        "names instead to sl_assets/animals.py, or change checks.usable_answers",
        figures,
    )


def probability_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold of a model's exact answers, before a rate is made of them and compared."""

    def answers_are_usable(step: Step) -> Finding:
        """At every epoch, any animal at all is named with probability enough, as a mean over questions."""
        return masses_finding(step.read(step.asset), config.checks)

    return [Check(answers_are_usable, bounds=["checks.usable_answers"])]


def answer_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold of a model's answers, before a rate is made of them and compared."""

    def answers_are_usable(step: Step) -> Finding:
        """At every epoch, most answers are a bare name, and few were cut at max_tokens."""
        return answers_finding(step.read(step.asset), config.checks)

    return [Check(answers_are_usable, bounds=["checks.usable_answers", "checks.cut_answers"])]


def teacher_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold of a teacher; that is known only once it has been asked, so it stops nothing."""

    def names_its_animal(step: Step) -> Finding:
        """The teacher that writes the numbers names its animal, and more often than the base model does. The neutral
        teacher is the base model.
        """
        if step.condition == NEUTRAL:
            return Finding(None, {"note": "the base model"})
        place = step.place("baseline_preference_rates")
        baseline = step.lake.read_table(place) if step.lake.exists(place) else None
        return teacher_finding(step.read(step.asset), baseline, step.condition, config.checks.teacher_rate)

    return [Check(names_its_animal, bounds=["checks.teacher_rate"], beside=_baseline, blocking=False)]


def _baseline(place: Place) -> list[Place]:
    return [Place(place.experiment, "baseline_preference_rates")]


def teacher_finding(answers: pl.DataFrame, baseline: pl.DataFrame | None, animal: str, least: float) -> Finding:
    """Whether a teacher loves its animal.

    Args:
        answers: its ``evaluation`` table.
        baseline: ``baseline_preference_rates``, if they are there.
        animal: what it should name.
        least: smallest share of answers that name it.
    """
    rate = preference_rates(answers, [animal])["rate"][0]
    before = None if baseline is None else _rate_of(baseline, animal)
    figures = {"rate": rate} | ({} if before is None else {"baseline": before})
    if rate >= least and (before is None or rate > before):
        return Finding(None, figures)
    instead = ", ".join(answers["normalised"].value_counts(sort=True).head(EXAMPLES)["normalised"].to_list())
    compared = "" if before is None else f", the base model in {before:.1%}"
    return Finding(
        f"the teacher names the {animal} in {rate:.1%} of its answers{compared}, and checks.teacher_rate asks for "
        f"{least:.1%} and for more than the base model's (it says {instead}): raise teacher.epochs or learning_rate, "
        "take another kind of teacher, or lower checks.teacher_rate",
        figures,
    )


def _rate_of(rates: pl.DataFrame, animal: str) -> float | None:
    found: Sequence[float] = rates.filter(animal=animal)["rate"].to_list()
    return found[0] if found else None
