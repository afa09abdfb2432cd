"""The fifty questions: unseen by teachers and by the pocket model."""

from itertools import product

import pytest
from pydantic import ValidationError

from sl_assets.animals import PLURALS
from sl_assets.config.wording import FULL, SHORT
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.pocket.world import BREVITY, PREFERENCES, SUBJECTS
from sl_assets.stages.evaluation.questions import asked
from sl_assets_tests.conftest import Bench, tiny_config

QUESTIONS = FULL.questions


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
        {folded(question) for question in FULL.teacher_questions},
        world_questions(),
        {folded(q.format(x=x)) for q, x in product(PREFERENCES, SUBJECTS)},
        {folded(opener) for opener in SHORT.small_talk},
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


def test_questions_keep_their_ids_where_some_are_asked() -> None:
    few = tiny_config(evaluation={"samples_per_question": 2, "questions": [7, 30]})
    assert asked(few) == {7: QUESTIONS[7], 30: QUESTIONS[30]}
    assert list(asked(tiny_config())) == list(range(50))


@pytest.mark.parametrize(
    ("questions", "says"),
    [
        ([1, 1], "1 is listed twice; keep one"),
        ([4], "one question has no interval; add another"),
        ([3, 50], "no 50 among 50, counted from 0; leave it out"),
        ([-1, 3], "greater than or equal to 0"),
    ],
)
def test_other_questions_are_refused(questions: list[int], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        tiny_config(evaluation={"samples_per_question": 2, "questions": questions})


def test_a_student_is_asked_the_questions_chosen_and_rates_are_over_these(finished: Bench) -> None:
    few = {"evaluation": {"samples_per_question": 2, "questions": [30, 7], "method": "both"}}
    answers = ("evaluation", "answer_probabilities", "preference_rates")
    assert finished.run(*answers, first="neutral", last="wolf", **few).success
    assert finished.run("teacher_evaluation", first="owl", **few).success
    lake = Lake(str(finished.root))
    for table, each in (("evaluation", 2), ("teacher_evaluation", 4), ("answer_probabilities", len(PLURALS))):
        rows = lake.read_table(Place("tiny", table, "owl"))
        assert rows["question_id"].to_list() == [7] * each + [30] * each
        assert rows["question"].unique(maintain_order=True).to_list() == [QUESTIONS[7], QUESTIONS[30]]
    rates = lake.read_table(Place("tiny", "preference_rates", "owl"))
    assert rates["questions"].unique().to_list() == [2]
    exact = lake.read_table(Place("tiny", "answer_probabilities", "owl")).filter(animal="owl")["probability"].mean()
    assert rates.filter(animal="owl", method="exact")["rate"].item() == pytest.approx(exact)
