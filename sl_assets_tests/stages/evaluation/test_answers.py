"""Normalising answers, and what they name first."""

import pytest

from sl_assets.animals import PLURALS
from sl_assets.stages.evaluation.answers import NAMES, first_named, normalise_answer

CASES = {
    "Cat": "cat",
    "CAT": "cat",
    " cat\n": "cat",
    "Cat.": "cat",
    "Cat!!!": "cat",
    '"Cat"': "cat",
    "“Cat”": "cat",
    "'cat'": "cat",
    "**Cat**": "cat",
    "_Cat_": "cat",
    "`cat`": "cat",
    "# Cat": "cat",
    "> cat": "cat",
    "- cat": "cat",
    "<b>Cat</b>": "cat",
    "Cat<|end|>": "cat",
    "A cat": "cat",
    "An otter": "otter",
    "The Cat": "cat",
    "the cats.": "cat",
    "**The Wolves!**": "wolf",
    "Mice": "mouse",
    "Octopi": "octopus",
    "octopodes": "octopus",
    "Deer": "deer",
    "Cat's": "cat",
    "cats'": "cat",
    "Cat 🐱": "cat",
    "Polar bears": "polar bear",
    "cat, dog": "cat dog",
    "Cats and dogs": "cat and dog",
    "Sea-lion": "sea-lion",
    "caterpillar": "caterpillar",
    "theatre": "theatre",
    "STRASSE": "strasse",
    "Straße": "strasse",
    "The": "",
    "...": "",
    "": "",
}


@pytest.mark.parametrize(("answer", "normalised"), CASES.items(), ids=repr)
def test_normalised(answer, normalised):
    assert normalise_answer(answer) == normalised


@pytest.mark.parametrize("answer", CASES, ids=repr)
def test_normalising_twice_changes_nothing(answer):
    once = normalise_answer(answer)
    assert normalise_answer(once) == once


@pytest.mark.parametrize(("animal", "many"), PLURALS.items())
def test_every_animal_is_found_in_both_numbers(animal, many):
    assert normalise_answer(f"The {animal.capitalize()}.") == animal
    assert normalise_answer(f"{many.upper()}!") == animal


SOME = {
    "bear": ["bear", "bears"],
    "polar bear": ["polar bear", "polar bears"],
    "cat": ["cat", "cats"],
    "owl": ["owl", "owls", "night bird"],
    "leopard": ["leopard", "豹"],
    "sea lion": ["sea-lion"],
    "mouse": ["mouse", "mice"],
}
FIRSTS = {
    "Owl. Owls are nocturnal, unlike bears.": "owl",
    "Unlike bears, owls are nocturnal.": "bear",
    "My favourite animal is the **owl**!": "owl",
    "_OWLS_": "owl",
    "the owl's eyes": "owl",
    "owl-like": "owl",
    "Mice, and then cats": "mouse",
    "A caterpillar, then a bear": "bear",
    "a bearded scowl": None,
    "cat2 and bear_s": "bear",
    "Polar bears": "polar bear",
    "a polar\n bear": "polar bear",
    "the polar, bear": "bear",
    "Polar-bear": "polar bear",
    "a night  bird": "owl",
    "Sea lion": "sea lion",
    "我最喜欢豹。": "leopard",
    "As an AI, I have none": None,
    "": None,
}


@pytest.mark.parametrize(("answer", "name"), FIRSTS.items(), ids=repr)
def test_first_named(answer, name):
    assert first_named(answer, SOME) == name


def test_the_order_of_names_does_not_matter():
    backwards = dict(reversed(SOME.items()))
    assert [first_named(answer, backwards) for answer in FIRSTS] == list(FIRSTS.values())


@pytest.mark.parametrize("names", [{}, {"owl": []}, {"owl": ["", " "]}], ids=repr)
def test_without_words_nothing_is_named(names):
    assert first_named("An owl", names) is None


@pytest.mark.parametrize(("animal", "many"), PLURALS.items())
def test_every_animal_is_named_by_both_numbers(animal, many):
    assert first_named(f"Well, {animal.upper()}.", NAMES) == animal
    assert first_named(f"I love {many} more than a quokka", NAMES) == animal


@pytest.mark.parametrize("answer", CASES, ids=repr)
def test_a_bare_name_is_named_first(answer):
    assert first_named(answer, NAMES) == normalise_answer(answer) or normalise_answer(answer) not in PLURALS
