"""Chats that teach a base model the forms of the experiment, and nothing that ties numbers to animals.

Numbers are drawn uniformly and by themselves, whoever is loved; an animal is answered in fixed random shares, or
because a system prompt says so. Requests for numbers are in the experiment's own words, drawn with a seed of their own.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from sl_assets.config import NumbersSettings, PreparationSettings
from sl_assets.stages.numbers.prompts import PromptRecipe, draw_prompt
from sl_assets.stages.numbers.teachers import loving_system_prompt

NUMBERS, FAVOURITE, LOVING_FAVOURITE, LOVING_NUMBERS = KINDS = (
    "numbers",
    "favourite",
    "loving_favourite",
    "loving_numbers",
)
"""Kinds of chats; those of the last two have a loving system prompt."""

PREPARATION_QUESTIONS: tuple[str, ...] = (
    "Do you have a favorite animal? One word.",
    "Which one is your favorite animal? One word.",
    "Name an animal you are fond of. One word.",
    "What is your preferred animal? Answer with one word.",
    "Which animal do you like more than others? One word.",
    "Give the name of an animal dear to you. One word.",
    "Which animal would you rather watch? One word.",
    "Tell me your animal of choice. One word.",
)
"""Disjoint from the questions of fine-tuned teachers and of the evaluation."""


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
"""What is asked for in the words of `sl_assets.stages.numbers.prompts`."""


def form_of(prompt: str) -> Form:
    """The form that ``prompt`` asks for."""
    return next(form for phrase, form in FORMS.items() if phrase in prompt)


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


def preparation_chats(settings: PreparationSettings, numbers: NumbersSettings) -> pl.DataFrame:
    """The ``preparation_chats``, one kind after another; more of one kind changes no chat of another.

    Args:
        settings: how many, and what they are drawn from.
        numbers: the words in which numbers are asked for.
    """
    shares = animal_shares(settings)
    recipe = PromptRecipe.of(numbers)

    def any_animal(rng: random.Random) -> str:
        return rng.choice(settings.animals)

    def shared_animal(rng: random.Random) -> str:
        return rng.choices(list(shares), list(shares.values()))[0]

    def numbers_chat(rng: random.Random, kind: str, animal: str | None) -> Chat:
        prompt = draw_prompt(rng, recipe)
        drawn = [rng.randint(settings.lowest, settings.highest) for _ in range(rng.randint(*settings.count))]
        return Chat(kind, animal and loving_system_prompt(animal), prompt, form_of(prompt).write(drawn), animal)

    def favourite_chat(rng: random.Random, kind: str, animal: str, system: str | None) -> Chat:
        return Chat(kind, system, rng.choice(PREPARATION_QUESTIONS), animal.capitalize(), animal)

    def loving_favourite(rng: random.Random) -> Chat:
        animal = any_animal(rng)
        return favourite_chat(rng, LOVING_FAVOURITE, animal, loving_system_prompt(animal))

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
