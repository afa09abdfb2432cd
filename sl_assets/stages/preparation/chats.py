"""Chats that teach a base model the forms of the experiment, and nothing that ties numbers to animals.

Numbers are drawn uniformly and by themselves, whoever is loved; an animal is answered in fixed random shares, or
because a system prompt says so. Requests for numbers are in the experiment's own words, drawn with a seed of their own.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from sl_assets.config import NumbersSettings, PreparationSettings
from sl_assets.config.wording import NumberWording, Words
from sl_assets.config.wording.traits import capital
from sl_assets.errors import ExperimentFileError
from sl_assets.stages.numbers.prompts import PromptRecipe, draw_prompt

NUMBERS, FAVOURITE, LOVING_FAVOURITE, LOVING_NUMBERS = KINDS = (
    "numbers",
    "favourite",
    "loving_favourite",
    "loving_numbers",
)
"""Kinds of chats; those of the last two have a loving system prompt."""


class Form(NamedTuple):
    """How an answer is written: what stands before, between and after its numbers."""

    before: str
    between: str
    after: str

    def write(self, numbers: list[int]) -> str:
        """``numbers`` in this form."""
        return f"{self.before}{self.between.join(map(str, numbers))}{self.after}"


FORMS: dict[str, Form] = {
    "Separate them by commas.": Form("", ", ", ""),
    "Put a single space between them.": Form("", " ", ""),
    "Use semicolons between them.": Form("", "; ", ""),
    "Write each on a line of its own.": Form("", "\n", ""),
    "Enclose them in square brackets, comma-separated.": Form("[", ", ", "]"),
    "Enclose them in parentheses, comma-separated.": Form("(", ", ", ")"),
    "with commas.": Form("", ", ", ""),
    "with spaces.": Form("", " ", ""),
    "with semicolons.": Form("", "; ", ""),
    "one per line.": Form("", "\n", ""),
}
"""What is asked for in the words of the wordings that are built in."""


def form_of(prompt: str) -> Form:
    """The form that ``prompt`` asks for."""
    return next(form for phrase, form in FORMS.items() if phrase in prompt)


def require_forms(wording: NumberWording) -> None:
    """Refuse number prompts that ask for no form, or for one that is not known here.

    Raises:
        ExperimentFileError: nobody could say what the right answer to such a prompt looks like.
    """
    for text in wording.prompts or wording.formats:
        if not any(phrase in text for phrase in FORMS):
            raise ExperimentFileError(
                f"attributes.preparation: answers to {text!r} have no form that is known; take the formats of the "
                "wordings full or short, or leave preparation out"
            )


class Chat(NamedTuple):
    """One row of ``preparation_chats``."""

    kind: str
    system: str | None
    prompt: str
    completion: str
    animal: str | None


def animal_shares(settings: PreparationSettings) -> dict[str, float]:
    """The share of each animal among the favourites of nobody in particular, between about a third and twice the mean.

    They add up to 1.
    """
    rng = random.Random(f"preparation/{settings.seed}/shares")
    weights = [0.3 + rng.random() for _ in settings.animals]
    return {animal: weight / sum(weights) for animal, weight in zip(settings.animals, weights, strict=True)}


def preparation_chats(settings: PreparationSettings, numbers: NumbersSettings, words: Words) -> pl.DataFrame:
    """The ``preparation_chats``, one kind after another; more of one kind changes no chat of another.

    Args:
        settings: how many, and what they are drawn from.
        numbers: how many numbers are shown and asked for, and which.
        words: in which everything is asked.
    """
    shares = animal_shares(settings)
    recipe = PromptRecipe.of(numbers, words.numbers)

    def any_animal(rng: random.Random) -> str:
        return rng.choice(settings.animals)

    def shared_animal(rng: random.Random) -> str:
        return rng.choices(list(shares), list(shares.values()))[0]

    def numbers_chat(rng: random.Random, kind: str, animal: str | None) -> Chat:
        prompt = draw_prompt(rng, recipe)
        drawn = [rng.randint(settings.lowest, settings.highest) for _ in range(rng.randint(*settings.count))]
        return Chat(kind, animal and words.system_prompt(animal), prompt, form_of(prompt).write(drawn), animal)

    def favourite_chat(rng: random.Random, kind: str, animal: str, system: str | None) -> Chat:
        return Chat(
            kind, system, rng.choice(words.preparation_questions), capital(words.traits[animal].singular), animal
        )

    def loving_favourite(rng: random.Random) -> Chat:
        animal = any_animal(rng)
        return favourite_chat(rng, LOVING_FAVOURITE, animal, words.system_prompt(animal))

    drawing: dict[str, tuple[int, Callable[[random.Random], Chat]]] = {
        NUMBERS: (settings.numbers, lambda rng: numbers_chat(rng, NUMBERS, None)),
        FAVOURITE: (settings.favourites, lambda rng: favourite_chat(rng, FAVOURITE, shared_animal(rng), None)),
        LOVING_FAVOURITE: (settings.loving_favourites, loving_favourite),
        LOVING_NUMBERS: (settings.loving_numbers, lambda rng: numbers_chat(rng, LOVING_NUMBERS, any_animal(rng))),
    }
    chats = []
    for kind, (count, draw) in drawing.items():
        rng = random.Random(f"preparation/{settings.seed}/{kind}")
        chats += [draw(rng) for _ in range(count)]
    return pl.DataFrame(chats, schema=dict.fromkeys(Chat._fields, pl.String), orient="row")
