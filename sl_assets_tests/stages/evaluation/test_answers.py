"""Normalising answers."""

import pytest

from sl_assets.animals import PLURALS
from sl_assets.stages.evaluation.answers import normalise_answer

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
