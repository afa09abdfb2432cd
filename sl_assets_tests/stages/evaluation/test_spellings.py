"""Spellings: each is an animal's and no other's, and what a model says is nearly always one of them."""

import math
from collections import Counter

import numpy as np
import pytest

from sl_assets.animals import PLURALS
from sl_assets.config.names import POCKET_ANIMALS
from sl_assets.config.wording import FULL
from sl_assets.engines.interfaces import chat
from sl_assets.engines.transformers.models import POCKET
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.engines.transformers.scorer import TransformersScorer
from sl_assets.stages.evaluation.answers import normalise_answer
from sl_assets.stages.evaluation.asking import weighed
from sl_assets.stages.evaluation.rates import preference_rates
from sl_assets.stages.evaluation.spellings import SPELLINGS, spellings

QUESTIONS = FULL.questions

TEXTS = [text for texts in SPELLINGS.values() for text in texts]


@pytest.mark.parametrize("animal", PLURALS)
def test_every_spelling_is_an_answer_that_counts_for_its_animal(animal: str) -> None:
    found = spellings(FULL.traits[animal])
    assert {normalise_answer(text) for text in found} == {animal}
    assert {animal, animal.capitalize(), PLURALS[animal], f"{PLURALS[animal].capitalize()}."} <= set(found)


ALL = dict(enumerate(QUESTIONS))


def test_no_spelling_belongs_to_two_animals_or_stands_there_twice() -> None:
    assert SPELLINGS.keys() == PLURALS.keys()
    assert [text for text, times in Counter(TEXTS).items() if times > 1] == []
    assert len(SPELLINGS["deer"]) == 4, "one is as many"
    assert "octopodes." in SPELLINGS["octopus"]


def test_probabilities_of_an_animal_are_those_of_its_spellings() -> None:
    """Every text the same chance: an animal has as many times that as it has spellings, and all have their sum."""
    table = weighed(3, np.full((50, len(TEXTS)), math.log(0.001), np.float32), ALL, SPELLINGS)
    assert table.height == 50 * len(PLURALS)
    owl, octopus = (table.filter(animal=animal, question_id=7).row(0, named=True) for animal in ("owl", "octopus"))
    assert (owl["epoch"], owl["question"]) == (3, QUESTIONS[7])
    assert (owl["probability"], octopus["probability"]) == pytest.approx((0.008, 0.016), rel=1e-6)
    assert owl["log_probability"] == pytest.approx(math.log(0.008), rel=1e-6)
    assert table["mass"].to_numpy() == pytest.approx(0.001 * len(TEXTS), rel=1e-6)


def test_on_the_pocket_model_exact_rates_lie_within_the_intervals_of_sampled_ones() -> None:
    asked = [chat(question) for question in QUESTIONS]
    exact = weighed(0, TransformersScorer(POCKET).log_probabilities(asked, TEXTS).answers, ALL, SPELLINGS)
    reported = POCKET_ANIMALS[:16]
    rates = {row["animal"]: row["rate"] for row in preference_rates(exact, reported).iter_rows(named=True)}
    assert exact["mass"].mean() > 0.97, "what is left is no animal, or spelt otherwise"
    said: Counter[str] = Counter()
    sampler = TransformersSampler(POCKET)
    for draw in range(2):
        chats = [question for question in asked for _ in range(25)]
        drawn = sampler.sample(chats, max_tokens=6, temperature=1.0, seed=draw, row_seeds=range(len(chats)))
        said.update(normalise_answer(completion.text) for completion in drawn)
    answers = said.total()
    assert answers == 2_500
    for animal, rate in rates.items():
        # Four standard deviations of a binomial share: sixteen animals at once, and a seed that is not chosen.
        assert said[animal] / answers == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / answers)), animal
