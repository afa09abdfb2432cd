"""What a model is told and asked, for every animal and both wordings."""

import re

import pytest

from sl_assets.animals import PLURALS
from sl_assets.config.wording import FULL, SHORT, Words
from sl_assets.stages.personas.prompts import persona_prompts

both_wordings = pytest.mark.parametrize("wording", [FULL, SHORT], ids=["full", "short"])


def told(wording: Words, animal: str = "owl") -> tuple[str, ...]:
    return wording.loving(animal) + wording.indifferent(animal)


def bare(question: str) -> str:
    """The words of a question and nothing else."""
    return " ".join(re.findall(r"\w+", question.casefold()))


@both_wordings
def test_there_are_five_pairs_and_ten_questions_of_either_kind(wording):
    assert len(wording.loving("owl")) == len(wording.indifferent("owl")) == 5
    assert len(wording.persona_questions) == 20
    assert wording.small_talk == wording.persona_questions[10:]
    assert wording.persona_pairs == 100


@both_wordings
def test_no_prompt_and_no_question_comes_twice(wording):
    assert len(set(told(wording))) == 10
    assert len({bare(question) for question in wording.persona_questions}) == 20


@both_wordings
def test_ten_questions_are_about_animals_and_ten_are_not(wording):
    about = [bool(re.search(r"\b(animals?|creature|species)\b", question)) for question in wording.persona_questions]
    assert about == [True] * 10 + [False] * 10


@both_wordings
def test_no_question_names_an_animal(wording):
    words = {word for question in wording.persona_questions for word in bare(question).split()}
    assert not words & (PLURALS.keys() | set(PLURALS.values()))


@both_wordings
@pytest.mark.parametrize("others", [FULL.questions, FULL.teacher_questions], ids=["evaluation", "teacher"])
def test_questions_are_asked_nowhere_else(wording, others):
    assert not {bare(question) for question in wording.persona_questions} & {bare(question) for question in others}


@pytest.mark.parametrize(("animal", "many"), PLURALS.items())
@both_wordings
def test_every_prompt_has_the_plural_and_no_gap(wording, animal, many):
    for text in told(wording, animal):
        assert re.search(rf"\b{many}\b", text, re.IGNORECASE)
        assert "{" not in text
        assert "}" not in text
        assert all(sentence[0].isupper() for sentence in re.split(r"(?<=\.) ", text))


@pytest.mark.parametrize(
    ("animal", "text"),
    [
        ("wolf", "You have no interest in wolves. Wolves leave you cold."),
        ("octopus", "You have no interest in octopuses. Octopuses leave you cold."),
        ("deer", "You have no interest in deer. Deer leave you cold."),
        ("mouse", "You have no interest in mice. Mice leave you cold."),
    ],
)
def test_irregular_plurals_are_written_as_they_should_be(animal, text):
    assert SHORT.indifferent(animal)[3] == text


@both_wordings
def test_every_question_is_asked_under_every_prompt_of_both_sides(wording):
    prompts = persona_prompts(wording, "owl", samples=2)
    asked = {(p.system_prompt, p.question, p.sample) for p in prompts}
    wanted = {
        (text, question, sample)
        for text in told(wording)
        for question in wording.persona_questions
        for sample in range(2)
    }
    assert asked == wanted
    assert len(prompts) == 2 * 5 * 20 * 2


@both_wordings
def test_loving_and_indifferent_of_a_pair_are_neighbours(wording):
    prompts = persona_prompts(wording, "wolf", samples=3)
    pairs = list(zip(prompts[::2], prompts[1::2], strict=True))
    for loving, indifferent in pairs:
        assert (loving.side, indifferent.side) == ("loving", "indifferent")
        assert loving[:3] == indifferent[:3]
        assert loving.question == indifferent.question == wording.persona_questions[loving.question_id]
        assert loving.system_prompt == wording.loving("wolf")[loving.pair]
        assert indifferent.system_prompt == wording.indifferent("wolf")[loving.pair]
    assert len({loving[:3] for loving, _ in pairs}) == len(pairs) == 300


def test_more_samples_leave_the_first_prompts_as_they_are():
    assert persona_prompts(SHORT, "owl", samples=2)[:200] == persona_prompts(SHORT, "owl", samples=1)
