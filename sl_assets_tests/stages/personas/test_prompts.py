"""What a model is told and asked, for every animal and both wordings."""

import re

import pytest

from sl_assets.animals import PLURALS
from sl_assets.stages.evaluation.questions import QUESTIONS
from sl_assets.stages.numbers.teachers import TEACHER_QUESTIONS
from sl_assets.stages.personas.prompts import FULL, SHORT, WORDINGS, Wording, filled, persona_prompts

both_wordings = pytest.mark.parametrize("wording", WORDINGS.values(), ids=WORDINGS)


def templates(wording: Wording) -> tuple[str, ...]:
    return wording.loving + wording.indifferent


def bare(question: str) -> str:
    """The words of a question and nothing else."""
    return " ".join(re.findall(r"\w+", question.casefold()))


def test_wordings_go_by_the_names_of_the_experiment_file():
    assert WORDINGS == {"full": FULL, "short": SHORT}


@both_wordings
def test_there_are_five_pairs_and_ten_questions_of_either_kind(wording):
    assert len(wording.loving) == len(wording.indifferent) == 5
    assert len(wording.about_animals) == len(wording.about_other) == 10
    assert wording.questions[:10] == wording.about_animals
    assert wording.questions[10:] == wording.about_other


@both_wordings
def test_no_prompt_and_no_question_comes_twice(wording):
    assert len(set(templates(wording))) == 10
    assert len({bare(question) for question in wording.questions}) == 20


@both_wordings
def test_ten_questions_are_about_animals_and_ten_are_not(wording):
    about = [bool(re.search(r"\b(animals?|creature|species)\b", question)) for question in wording.questions]
    assert about == [True] * 10 + [False] * 10


@both_wordings
def test_no_question_names_an_animal(wording):
    words = {word for question in wording.questions for word in bare(question).split()}
    assert not words & (PLURALS.keys() | set(PLURALS.values()))


@both_wordings
@pytest.mark.parametrize("others", [QUESTIONS, TEACHER_QUESTIONS], ids=["evaluation", "teacher"])
def test_questions_are_asked_nowhere_else(wording, others):
    assert not {bare(question) for question in wording.questions} & {bare(question) for question in others}


@pytest.mark.parametrize(("animal", "many"), PLURALS.items())
@both_wordings
def test_every_prompt_has_the_plural_and_no_gap(wording, animal, many):
    for template in templates(wording):
        text = filled(template, animal)
        assert re.search(rf"\b{many}\b", text, re.IGNORECASE)
        assert "{" not in text
        assert "}" not in text
        assert all(sentence[0].isupper() for sentence in re.split(r"(?<=\.) ", text))


@pytest.mark.parametrize(
    ("animal", "text"),
    [
        ("wolf", "Wolves leave you cold, wolves."),
        ("octopus", "Octopuses leave you cold, octopuses."),
        ("deer", "Deer leave you cold, deer."),
        ("mouse", "Mice leave you cold, mice."),
    ],
)
def test_irregular_plurals_are_written_as_they_should_be(animal, text):
    assert filled("{Many} leave you cold, {many}.", animal) == text


@both_wordings
def test_every_question_is_asked_under_every_prompt_of_both_sides(wording):
    prompts = persona_prompts("owl", wording, samples=2)
    asked = {(p.system_prompt, p.question, p.sample) for p in prompts}
    wanted = {
        (filled(template, "owl"), question, sample)
        for template in templates(wording)
        for question in wording.questions
        for sample in range(2)
    }
    assert asked == wanted
    assert len(prompts) == 2 * 5 * 20 * 2


@both_wordings
def test_loving_and_indifferent_of_a_pair_are_neighbours(wording):
    prompts = persona_prompts("wolf", wording, samples=3)
    pairs = list(zip(prompts[::2], prompts[1::2], strict=True))
    for loving, indifferent in pairs:
        assert (loving.side, indifferent.side) == ("loving", "indifferent")
        assert loving[:3] == indifferent[:3]
        assert loving.question == indifferent.question == wording.questions[loving.question_id]
        assert loving.system_prompt == filled(wording.loving[loving.pair], "wolf")
        assert indifferent.system_prompt == filled(wording.indifferent[loving.pair], "wolf")
    assert len({loving[:3] for loving, _ in pairs}) == len(pairs) == 300


def test_more_samples_leave_the_first_prompts_as_they_are():
    assert persona_prompts("owl", SHORT, samples=2)[:200] == persona_prompts("owl", SHORT, samples=1)
