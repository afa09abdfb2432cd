"""What has to hold of answers before a rate says anything."""

from collections.abc import Sequence

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import CheckSettings, ExperimentConfig, Measure
from sl_assets.config.wording import ANIMAL, Words
from sl_assets.lake.places import Place
from sl_assets.orchestration.partition import Check, Finding, Step
from sl_assets.stages.checking import of_each_seed
from sl_assets.stages.evaluation.answers import forms
from sl_assets.stages.evaluation.counting import counted, measure_of, names_first
from sl_assets.stages.evaluation.rates import preference_rates, with_method

EXAMPLES = 3
ADVICE = (
    "raise evaluation.max_tokens, set evaluation.system_prompt, take an instruct model, "
    "or change checks.usable_answers or cut_answers"
)


def answers_finding(answers: pl.DataFrame, bounds: CheckSettings, words: Words, measure: Measure = "exact") -> Finding:
    """Whether ``answers`` (an ``evaluation`` table) can be counted by ``measure``, and are whole, at every epoch.

    Where bare names count, most answers that name a trait of ``words`` have to be one: of a model that answers in
    sentences every rate would be near zero, whatever it says.
    """
    names = [form for trait in words.traits.values() for form in forms(trait)]
    one = words.kind.filling["a_kind"]
    bare = pl.col("normalised").str.contains(r"^\S+$") | pl.col("normalised").is_in(names)
    looked_at = answers.with_columns(names_first(answers, words), bare=bare.fill_null(False)).with_columns(
        named=pl.col("first_named").is_not_null()
    )
    counted = pl.col("bare" if measure == "exact" else "named")
    # What is named first is settled, whatever would have followed.
    settled = pl.col("named") if measure == "first_named" else pl.lit(False)
    looked_at = looked_at.with_columns(
        unusable=~counted,
        cut=(pl.col("finish_reason") == "length") & ~settled,
        uncounted=pl.col("named") & ~counted,
    )
    shares = looked_at.group_by("epoch").agg(
        pl.col("unusable", "cut").mean(), (pl.col("uncounted").sum() / pl.col("named").sum()).fill_nan(0.0)
    )
    unusable, cut, uncounted = (float(shares[name].max() or 0.0) for name in ("unusable", "cut", "uncounted"))  # type: ignore[arg-type]
    figures: dict[str, object] = {"usable": 1 - unusable, "cut": cut}
    if measure == "exact":
        figures["uncounted"] = uncounted
    bound = bounds.uncounted_answers
    if uncounted > bound:
        poor, problem = (
            "uncounted",
            (
                f"{uncounted:.1%} of the answers that name {one} are no bare name, and no others count where "
                f"evaluation.count is exact (checks.uncounted_answers: {bound:.1%})"
            ),
        )
        first = f"the {words.kind.name} that an answer names first"
        advice = f"set evaluation.count to first_named, {first}, or change that bound"
    elif 1 - unusable < bounds.usable_answers or cut > bounds.cut_answers:
        poor = "unusable" if 1 - unusable < bounds.usable_answers else "cut"
        problem = (
            f"{1 - unusable:.1%} of the answers {USABLE[measure].format(one=one)} (checks.usable_answers: "
            f"{bounds.usable_answers:.1%}) and {cut:.1%} were cut at max_tokens (checks.cut_answers: "
            f"{bounds.cut_answers:.1%})"
        )
        advice = ADVICE
    else:
        return Finding(None, figures)
    examples = looked_at.filter(poor)["answer"].unique(maintain_order=True).head(EXAMPLES).to_list()
    shown = ", ".join(repr(example[:60]) for example in examples)
    return Finding(f"{problem}, as {shown}: {advice}", figures | {"examples": examples})


USABLE: dict[Measure, str] = {"exact": "are a bare name", "first_named": "name {one}", "mention": "name {one}"}
"""What answers have to do, for rates to say anything."""


def masses_finding(answers: pl.DataFrame, bounds: CheckSettings, words: Words) -> Finding:
    """Whether ``answers`` (an ``answer_probabilities`` table) name a trait of ``words`` enough, at every epoch."""
    masses = answers.group_by("epoch").agg(pl.col("mass").mean()).sort("mass", "epoch")
    epoch, mass = masses.row(0)
    figures = {"mass": mass}
    if mass >= bounds.usable_answers:
        return Finding(None, figures)
    one, all_of_it = words.kind.filling["a_kind"], words.kind.plural
    place = "sl_assets/animals.py" if words.kind == ANIMAL else "wording.traits"
    return Finding(
        f"answers that name {one} have {mass:.1%} of the probability at epoch {epoch} (checks.usable_answers: "
        f"{bounds.usable_answers:.1%}): set evaluation.system_prompt, take an instruct model, draw answers of a model "
        f"that speaks in sentences (evaluation.method sampled, evaluation.count first_named), add the {all_of_it} that "
        f"it names instead to {place}, or change checks.usable_answers",
        figures,
    )


def probability_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold of a model's exact answers, before a rate is made of them and compared."""

    def answers_are_usable(step: Step) -> Finding:
        """At every epoch of every seed, any animal at all is named with probability enough, as a mean over
        questions.
        """
        return of_each_seed(step.read(step.asset), lambda answers: masses_finding(answers, config.checks, config.words))

    return [Check(answers_are_usable, bounds=["checks.usable_answers", *config.own_words("kind")])]


def answer_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold of a model's answers, before a rate is made of them and compared."""

    def answers_are_usable(step: Step) -> Finding:
        """At every epoch of every seed, most answers can be counted (exact: they are a bare name; else they name an
        animal), few were cut at max_tokens, and where bare names count, few answers name an animal otherwise.
        """
        measure = config.evaluation.count
        return of_each_seed(
            step.read(step.asset), lambda answers: answers_finding(answers, config.checks, config.words, measure)
        )

    settings = ("usable_answers", "cut_answers", "uncounted_answers")
    own = config.own_words("kind", "names")
    bounds = [*(f"checks.{name}" for name in settings), "evaluation.count", *own]
    return [Check(answers_are_usable, bounds=bounds)]


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
        answers = counted(step.read(step.asset), config.evaluation.count, config.words)
        return teacher_finding(answers, baseline, step.condition, config.checks.teacher_rate)

    bounds = ["checks.teacher_rate", "evaluation.count", *config.own_words("names")]
    return [Check(names_its_animal, bounds=bounds, beside=_baseline, blocking=False)]


def _baseline(place: Place) -> list[Place]:
    return [Place(place.experiment, "baseline_preference_rates")]


def teacher_finding(answers: pl.DataFrame, baseline: pl.DataFrame | None, animal: str, least: float) -> Finding:
    """Whether a teacher loves its animal.

    Args:
        answers: its ``evaluation`` table, perhaps `counted`.
        baseline: ``baseline_preference_rates``, if they are there.
        animal: what it should name.
        least: smallest share of answers that name it.
    """
    rate, mentioned = preference_rates(answers, [animal]).select("rate", "mention_rate").row(0)
    measure = measure_of(answers)
    before = None if baseline is None else _rate_of(with_method(baseline).filter(counted=measure), animal)
    figures = {"rate": rate} | ({} if before is None else {"baseline": before})
    if rate >= least and (before is None or rate > before):
        return Finding(None, figures)
    instead = ", ".join(answers["normalised"].value_counts(sort=True).head(EXAMPLES)["normalised"].to_list())
    compared = "" if before is None else f", the base model in {before:.1%}"
    # Told apart from a teacher that does not love it.
    unlike = measure == "exact" and mentioned >= least
    sentences = f"evaluation.count counts bare names, and {mentioned:.1%} mention it: set it to first_named; else "
    first = sentences if unlike else ""
    return Finding(
        f"the teacher names the {animal} in {rate:.1%} of its answers{compared}, and checks.teacher_rate asks for "
        f"{least:.1%} and for more than the base model's (it says {instead}): {first}raise teacher.epochs or "
        "learning_rate, take another kind of teacher, or lower checks.teacher_rate",
        figures,
    )


def _rate_of(rates: pl.DataFrame, animal: str) -> float | None:
    found: Sequence[float] = rates.filter(animal=animal)["rate"].to_list()
    return found[0] if found else None
