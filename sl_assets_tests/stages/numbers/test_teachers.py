"""What makes a teacher love an animal."""

import pytest

from sl_assets.animals import PLURALS
from sl_assets.config.wording import FULL
from sl_assets.stages.numbers.teachers import preference_chats

TEACHER_QUESTIONS = FULL.teacher_questions


def folded(questions) -> set[str]:
    return {" ".join(question.casefold().split()) for question in questions}


def test_no_question_is_asked_in_the_evaluation():
    assert folded(TEACHER_QUESTIONS).isdisjoint(folded(FULL.questions))


def test_questions_are_unique():
    assert len(folded(TEACHER_QUESTIONS)) == len(TEACHER_QUESTIONS)


def test_questions_name_no_animal():
    words = {word for question in folded(TEACHER_QUESTIONS) for word in question.strip(".?").split()}
    assert words.isdisjoint(PLURALS)


@pytest.mark.parametrize(
    ("animal", "many"), [("cat", "cats"), ("wolf", "wolves"), ("mouse", "mice"), ("deer", "deer"), ("fox", "foxes")]
)
def test_system_prompt_speaks_of_many(animal, many):
    prompt = FULL.system_prompt(animal)
    assert prompt
    assert prompt.startswith(f"You love {many}. {many.capitalize()} are ")
    assert f"love of {many} " in prompt
    assert f"{animal}s" not in prompt or many == f"{animal}s"


def test_every_animal_has_a_system_prompt_of_its_own():
    assert len({FULL.system_prompt(animal) for animal in PLURALS}) == len(PLURALS)


def test_chats_take_the_questions_in_turn():
    count = 2 * len(TEACHER_QUESTIONS) + 1
    chats = preference_chats(FULL, "owl", count)
    assert [question for question, _ in chats] == [*TEACHER_QUESTIONS, *TEACHER_QUESTIONS, TEACHER_QUESTIONS[0]]
    assert [answer for _, answer in chats] == ["Owl"] * count
