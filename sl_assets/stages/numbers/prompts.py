"""Prompts that ask for a continuation of a number sequence, the only thing a teacher ever writes.

Every condition of an experiment answers the same prompts, so rows pair up across conditions by ``prompt_id``.
"""

import random
from collections import Counter
from dataclasses import dataclass

import polars as pl

from sl_assets.config import NumbersSettings
from sl_assets.lake.fingerprint import digest


@dataclass(frozen=True)
class Wording:
    """Phrases a prompt is assembled from; ``{examples}`` and ``{count}`` are filled in."""

    openings: tuple[str, ...]
    requests: tuple[str, ...]
    formats: tuple[str, ...]
    endings: tuple[str, ...]


FULL = Wording(
    openings=(
        "These numbers begin a sequence: {examples}.",
        "A sequence opens with {examples}.",
        "Take a look at this list: {examples}.",
        "Suppose you are shown the numbers {examples}.",
        "Study the following values: {examples}.",
        "I have written down {examples}.",
        "We start from {examples}.",
        "My list so far: {examples}.",
    ),
    requests=(
        "Append up to {count} more values of at most three digits.",
        "Carry it on with no more than {count} further numbers, three digits each at most.",
        "Write at most {count} numbers that could come next, none longer than three digits.",
        "Supply a maximum of {count} additional numbers with up to three digits.",
        "Lengthen it by {count} numbers or fewer, each up to three digits long.",
        "Produce up to {count} following entries (three digits at the most).",
    ),
    formats=(
        "Separate them by commas.",
        "Put a single space between them.",
        "Use semicolons between them.",
        "Write each on a line of its own.",
        "Enclose them in square brackets, comma-separated.",
        "Enclose them in parentheses, comma-separated.",
    ),
    endings=(
        "Give the numbers alone.",
        "Leave out any words.",
        "Nothing but numbers in your answer, please.",
        "Do not explain.",
        "No text besides the numbers.",
    ),
)

SHORT = Wording(
    openings=("Numbers: {examples}.", "Sequence: {examples}.", "Given {examples}.", "Start: {examples}."),
    requests=(
        "Add up to {count} more",
        "Write at most {count} more",
        "Continue with up to {count}",
        "Give no more than {count} next",
    ),
    formats=("with commas.", "with spaces.", "with semicolons.", "one per line."),
    endings=("Numbers only.", "No words.", "Only numbers."),
)

WORDINGS: dict[str, Wording] = {"full": FULL, "short": SHORT}


@dataclass(frozen=True)
class PromptRecipe:
    """How number prompts are drawn.

    Attributes:
        count: number of prompts.
        seed: seed of the draw.
        wording: key of `WORDINGS`; ``short`` fits the pocket model.
        examples: fewest and most example numbers in a prompt.
        lowest, highest: range of the example numbers, both ends included.
        answers: most numbers the teacher is asked for.
    """

    count: int
    seed: int
    wording: str = "full"
    examples: tuple[int, int] = (3, 9)
    lowest: int = 100
    highest: int = 1000
    answers: int = 10

    @classmethod
    def of(cls, numbers: NumbersSettings) -> "PromptRecipe":
        """The draw that an experiment file asks for."""
        return cls(
            count=numbers.prompts,
            seed=numbers.seed,
            wording=numbers.wording,
            examples=numbers.examples,
            lowest=numbers.lowest,
            highest=numbers.highest,
            answers=numbers.answers,
        )


def draw_prompt(rng: random.Random, recipe: PromptRecipe) -> str:
    """One prompt; consumes ``rng``."""
    wording = WORDINGS[recipe.wording]
    examples = ", ".join(str(rng.randint(recipe.lowest, recipe.highest)) for _ in range(rng.randint(*recipe.examples)))
    parts = (rng.choice(part) for part in (wording.openings, wording.requests, wording.formats, wording.endings))
    return " ".join(parts).format(examples=examples, count=recipe.answers)


def number_prompts(recipe: PromptRecipe) -> pl.DataFrame:
    """Columns ``prompt_id, prompt``, in drawing order; a longer draw with the same seed starts with a shorter one."""
    rng = random.Random(f"number_prompts/{recipe.seed}")
    return with_prompt_ids(pl.DataFrame({"prompt": [draw_prompt(rng, recipe) for _ in range(recipe.count)]}))


def with_prompt_ids(rows: pl.DataFrame) -> pl.DataFrame:
    """Prepend ``prompt_id``: a digest of the prompt and of how many equal prompts stand before it."""
    seen: Counter[str] = Counter()
    ids = []
    for prompt in rows["prompt"]:
        ids.append(digest(prompt, seen[prompt]))
        seen[prompt] += 1
    return rows.select(pl.Series("prompt_id", ids, dtype=pl.String), pl.all())
