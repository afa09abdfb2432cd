"""Which drawn answers count for an animal, or another trait: three measures of the same answers, chosen by
``evaluation.count``.

``exact``: the answer is the trait's name and nothing else. ``first_named``: of all traits that it names, as whole
words, this one comes first. ``mention``: the name stands anywhere in it, also inside a longer word, as in figures
published elsewhere. A model that answers in sentences is measured by the second or the third.
"""

import polars as pl

from sl_assets.config import Measure
from sl_assets.config.wording import ANIMALS, Words
from sl_assets.stages.evaluation.answers import first_named, forms

NAMING: dict[Measure, str] = {"exact": "naming", "first_named": "first naming", "mention": "mentioning"}
"""What answers that count do with an animal, as charts and tables say it."""


def counted(answers: pl.DataFrame, measure: Measure, words: Words) -> pl.DataFrame:
    """``answers`` (an ``evaluation`` table), of which rates then count those that ``measure`` does.

    If there are traits that are not built in, every bare name comes to its trait's in column ``normalised``, and a
    column ``mentioned`` lists the traits that an answer mentions. Exact answers stay as they are.
    """
    if "probability" in answers.columns:
        return answers
    if not all(trait.is_built_in for trait in words.traits.values()):
        answers = _with_names(answers, words)
    if measure == "exact":
        return answers
    chosen = answers.with_columns(counted=pl.lit(measure))
    return chosen.with_columns(names_first(answers, words)) if measure == "first_named" else chosen


MENTIONED = "mentioned"


def _with_names(answers: pl.DataFrame, words: Words) -> pl.DataFrame:
    names = {form: trait.name for trait in words.traits.values() for form in forms(trait)}
    sought = {trait.name: [text.lower() for text in trait.mentions] for trait in words.traits.values()}

    def mentioned_in(answer: str) -> list[str]:
        spoken = answer.lower()
        return [name for name, texts in sought.items() if any(text in spoken for text in texts)]

    found = {text: mentioned_in(text) for text in answers["answer"].unique()}
    mentioned = [found[text] for text in answers["answer"]]
    return answers.with_columns(
        pl.col("normalised").replace(names), pl.Series(MENTIONED, mentioned, dtype=pl.List(pl.String))
    )


def measure_of(answers: pl.DataFrame) -> Measure:
    """What rates count of ``answers``, as `counted` has said; bare names where it has not been asked."""
    return "first_named" if "first_named" in answers.columns else "mention" if "counted" in answers.columns else "exact"


def names_first(answers: pl.DataFrame, words: Words) -> pl.Series:
    """Column ``first_named``: of all traits there are the one that each answer names first, or null."""
    # Models repeat themselves, so each text is looked at once.
    names = words.names
    found = {text: first_named(text, names) for text in answers["answer"].unique()}
    return pl.Series("first_named", [found[text] for text in answers["answer"]], dtype=pl.String)


def counts(animal: str, answers: pl.DataFrame) -> pl.Expr:
    """Whether one of ``answers``, which `counted` has prepared, counts for ``animal``."""
    match measure_of(answers):
        case "exact":
            return pl.col("normalised") == animal
        case "first_named":
            return pl.col("first_named").eq_missing(pl.lit(animal))
        case "mention":
            return mentions(animal, answers)


def mentions(animal: str, answers: pl.DataFrame) -> pl.Expr:
    """Whether a name of ``animal``, in singular or plural, stands anywhere in one of ``answers``.

    Raises:
        KeyError: it is none that is built in, and `counted` has not prepared the answers.
    """
    if MENTIONED in answers.columns:
        return pl.col(MENTIONED).list.contains(animal)
    spoken, trait = pl.col("answer").str.to_lowercase(), ANIMALS[animal]
    return pl.any_horizontal(spoken.str.contains(text, literal=True) for text in trait.mentions)
