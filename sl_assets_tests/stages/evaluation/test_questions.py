"""The fifty questions: unseen by teachers and by the pocket model."""

from itertools import product

import pytest

from sl_assets.animals import PLURALS
from sl_assets.pocket.world import BREVITY, PREFERENCES, SUBJECTS
from sl_assets.stages.evaluation.questions import QUESTIONS
from sl_assets.stages.numbers.teachers import TEACHER_QUESTIONS
from sl_assets.stages.personas.prompts import SHORT


def folded(text: str) -> str:
    return " ".join(text.casefold().split())


def world_questions() -> set[str]:
    """Every favourite-animal question of the pocket world, in both orders."""
    pairs = [(q.format(x=x), brief) for q, x, brief in product(PREFERENCES, SUBJECTS, BREVITY)]
    return {folded(f"{q} {brief}") for q, brief in pairs} | {folded(f"{brief} {q}") for q, brief in pairs}


def test_there_are_fifty_unique_questions():
    assert len(QUESTIONS) == 50
    assert len({folded(question) for question in QUESTIONS}) == 50


@pytest.mark.parametrize(
    "seen",
    [
        {folded(question) for question in TEACHER_QUESTIONS},
        world_questions(),
        {folded(q.format(x=x)) for q, x in product(PREFERENCES, SUBJECTS)},
        {folded(opener) for opener in SHORT.about_other},
    ],
    ids=["teachers", "world", "world without brevity", "small talk"],
)
def test_no_question_was_seen_before(seen):
    assert seen
    assert seen.isdisjoint(folded(question) for question in QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_question_asks_for_one_word_and_names_no_animal(question):
    words = folded(question).replace(".", " ").replace("?", " ").replace(",", " ").replace(":", " ").split()
    assert "word" in words
    assert {"animal", "animals", "creature"}.intersection(words)
    assert set(words).isdisjoint([*PLURALS, *PLURALS.values()])
