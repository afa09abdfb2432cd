"""What has to hold of the chats that a base model was prepared with."""

import re
from collections.abc import Sequence

import polars as pl

from sl_assets.config import ExperimentConfig, GenerateSource
from sl_assets.lake.places import Place
from sl_assets.orchestration.partition import Check, Finding, Step
from sl_assets.seeds import seed_for
from sl_assets.stages.preparation.chats import LOVING_NUMBERS

CHATS = "preparation_chats"
BINS = 10
PERMUTATIONS = 1_999


def preparation_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold before anything is made with the prepared model."""

    def numbers_are_independent(step: Step) -> Finding:
        """No number of the preparation depends on an animal: among the chats with numbers under a loving system prompt,
        the numbers of all animals are alike. Tested by permutation: how often Pearson's chi-square of animals against
        ten equal ranges of numbers is as large when the animals are dealt out to the answers at random.
        """
        return independence_finding(step.read(CHATS), config.checks.independence)

    def prompts_are_new(step: Step) -> Finding:
        """No request for numbers in the preparation is one that the teachers answer."""
        prompts = step.place("number_prompts")
        if not step.lake.exists(prompts):
            return Finding(None, {"note": "nothing to compare with"})
        return overlap_finding(step.read(CHATS)["prompt"], step.lake.read_table(prompts)["prompt"])

    checks = [Check(numbers_are_independent, bounds=["checks.independence"])]
    if isinstance(config.numbers.source, GenerateSource):
        checks.append(Check(prompts_are_new, beside=lambda place: [Place(place.experiment, "number_prompts")]))
    return checks


def independence_finding(chats: pl.DataFrame, least: float) -> Finding:
    """Whether the numbers of ``chats`` under a loving system prompt tell nothing of the animal.

    Args:
        chats: a ``preparation_chats`` table.
        least: smallest p-value.
    """
    told = chats.filter(kind=LOVING_NUMBERS)
    answers = [[int(number) for number in re.findall(r"\d+", text)] for text in told["completion"]]
    p_value = independence(told["animal"].to_list(), answers)
    figures = {"p_value": p_value, "answers": told.height, "numbers": sum(map(len, answers))}
    if p_value >= least:
        return Finding(None, figures)
    return Finding(
        f"numbers differ between animals (p = {p_value:.2g}, and checks.independence asks for {least:g}): "
        "take another preparation.seed",
        figures,
    )


def independence(animals: Sequence[str], answers: Sequence[Sequence[int]]) -> float:
    """P-value of a permutation test that the numbers of an answer do not depend on its animal.

    The statistic is Pearson's chi-square of animals x ranges of numbers. Whole answers are permuted, so numbers of one
    answer need not be independent of each other. The p-value is (1 + permutations with a statistic as large) /
    (1 + permutations), so it is exact, and 1 / 2,000 at least.

    Args:
        animals: one an answer.
        answers: the numbers of each.
    """
    import numpy as np

    values = np.concatenate([np.asarray(answer) for answer in answers])
    edges = np.linspace(values.min(), values.max() + 1, BINS + 1)
    counts = np.stack([np.histogram(answer, edges)[0] for answer in answers]).astype(float)
    counts = counts[:, counts.sum(0) > 0]
    names, codes = np.unique(animals, return_inverse=True)
    members = np.eye(len(names))[codes].T

    def chi_square(table: "np.ndarray") -> float:
        expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
        return float(((table - expected) ** 2 / expected).sum())

    observed = chi_square(members @ counts)
    rng = np.random.default_rng(seed_for("preparation", "independence"))
    # Sums of the same counts in another order may differ in their last digits.
    as_large = sum(chi_square(members @ rng.permutation(counts)) >= observed * (1 - 1e-9) for _ in range(PERMUTATIONS))
    return (1 + as_large) / (1 + PERMUTATIONS)


def overlap_finding(chats: pl.Series, prompts: pl.Series) -> Finding:
    """Whether none of ``chats``, the requests of a preparation, is one of ``prompts``."""
    both = sorted(set(chats) & set(prompts))
    if not both:
        return Finding(None, {"shared": 0})
    return Finding(
        f"{len(both)} of its requests are in number_prompts, as {both[0]!r}: take another preparation.seed, or more "
        "example numbers (numbers.examples, lowest and highest)",
        {"shared": len(both)},
    )
