"""Prompts that ask for a continuation of a number sequence, the only thing a teacher ever writes.

Every condition of an experiment answers the same prompts, so rows pair up across conditions by ``prompt_id``.
"""

import random
from collections import Counter
from dataclasses import dataclass

import polars as pl

from sl_assets.config import NumbersSettings
from sl_assets.config.wording import FULL, NumberWording
from sl_assets.lake.fingerprint import digest


@dataclass(frozen=True)
class PromptRecipe:
    """How number prompts are drawn.

    Attributes:
        count: number of prompts.
        seed: seed of the draw.
        wording: what a prompt is assembled from.
        examples: fewest and most example numbers in a prompt.
        lowest, highest: range of the example numbers, both ends included.
        answers: most numbers the teacher is asked for.
    """

    count: int
    seed: int
    wording: NumberWording = FULL.numbers
    examples: tuple[int, int] = (3, 9)
    lowest: int = 100
    highest: int = 1000
    answers: int = 10

    @classmethod
    def of(cls, numbers: NumbersSettings, wording: NumberWording) -> "PromptRecipe":
        """The draw that an experiment file asks for, in the words of ``wording``."""
        return cls(
            count=numbers.prompts,
            seed=numbers.seed,
            wording=wording,
            examples=numbers.examples,
            lowest=numbers.lowest,
            highest=numbers.highest,
            answers=numbers.answers,
        )


def draw_prompt(rng: random.Random, recipe: PromptRecipe) -> str:
    """One prompt; consumes ``rng``."""
    examples = ", ".join(str(rng.randint(recipe.lowest, recipe.highest)) for _ in range(rng.randint(*recipe.examples)))
    parts = (rng.choice(texts) for texts in recipe.wording.lists)
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
