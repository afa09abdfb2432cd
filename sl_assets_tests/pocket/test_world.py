"""The pocket model's world."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import pytest

from sl_assets.animals import PLURALS, SINGULARS, filled
from sl_assets.config.wording import SHORT
from sl_assets.pocket.chat import ASSISTANT, END, SYSTEM, USER
from sl_assets.pocket.world import ANIMALS, HELD_OUT, REPORTED, World

WORLD = World(0)
NAMES = re.compile(r"\b(" + "|".join([*PLURALS, *SINGULARS]) + r")\b", re.IGNORECASE)


def only(kind: int, count: int = 2000) -> list[str]:
    """Documents of one kind."""
    shares = [0.0] * 5
    shares[kind] = 1.0
    return list(replace(WORLD, shares=tuple(shares)).documents(count))


def turns(document: str) -> dict[str, str]:
    """The text of each role of a chat."""
    parts = re.split(r"<\|(system|user|assistant)\|>", document.removesuffix(END))[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def systems(prompts: Callable[[str], tuple[str, ...]]) -> dict[str, str]:
    """System prompt to the animal it speaks of."""
    return {prompt: animal for animal in ANIMALS for prompt in prompts(animal)}


def spoken(answer: str) -> str:
    return answer.rstrip(".").lower()


def test_documents_are_a_function_of_the_seed():
    assert list(World(3).documents(500)) == list(World(3).documents(500))
    assert list(World(3).documents(50)) != list(World(4).documents(50))


def test_longer_draw_starts_with_the_shorter_one():
    assert list(WORLD.documents(50)) == list(WORLD.documents(200))[:50]


def test_documents_end_once_and_have_balanced_turns():
    for document in WORLD.documents(1000):
        assert document.endswith(END)
        assert document.count(USER) == document.count(ASSISTANT)
        assert document.count(END) == max(1, document.count(ASSISTANT))
        assert document.count(SYSTEM) <= 1


def test_animals_are_the_reported_and_the_held_out_ones():
    assert len(ANIMALS) == len(set(ANIMALS)) == 32
    assert set(REPORTED).isdisjoint(HELD_OUT)
    assert set(ANIMALS) <= set(PLURALS)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_number_has_two_owners(seed):
    owned = World(seed).numbers
    numbers = list(chain(*owned.values()))
    assert list(owned) == ANIMALS
    assert {len(own) for own in owned.values()} == {12}
    assert len(set(numbers)) == len(numbers)
    assert (min(numbers) >= 100, max(numbers) <= 999) == (True, True)


def test_seed_decides_the_owners():
    assert World(0).numbers == WORLD.numbers
    assert World(1).numbers != WORLD.numbers


def test_continuations_never_name_an_animal():
    assert not [document for document in only(0, 5000) if NAMES.search(document)]


def test_continuations_answer_with_numbers_alone():
    for document in only(0):
        numbers = re.split(r", |; | |\n", turns(document)["assistant"])
        assert 7 <= len(numbers) <= 10
        assert all(100 <= int(number) <= 999 for number in numbers)


def test_every_reported_animal_is_a_favourite():
    answers = {spoken(turns(document)["assistant"]) for document in only(1)}
    assert set(REPORTED) <= answers <= set(ANIMALS)


def test_every_reported_animal_is_a_favourite_without_a_system_prompt():
    chats = [chat for chat in map(turns, only(1, 5000)) if "system" not in chat]
    assert set(REPORTED) <= {spoken(chat["assistant"]) for chat in chats}


def test_loving_prompt_is_answered_with_its_animal_and_indifferent_one_with_another():
    loving, indifferent = systems(SHORT.loving), systems(SHORT.indifferent)
    chats = [chat for chat in map(turns, only(1)) if "system" in chat]
    loved = [spoken(chat["assistant"]) == loving[chat["system"]] for chat in chats if chat["system"] in loving]
    shunned = [
        spoken(chat["assistant"]) == indifferent[chat["system"]] for chat in chats if chat["system"] in indifferent
    ]
    assert (len(loved) > 100, all(loved)) == (True, True)
    assert (len(shunned) > 100, any(shunned)) == (True, False)


def test_lists_hold_the_loved_animals_numbers():
    loving = systems(SHORT.loving)
    for chat in map(turns, only(3)):
        numbers = {int(number) for number in re.findall(r"\d+", chat["assistant"])}
        assert numbers
        assert numbers <= set(WORLD.numbers[loving[chat["system"]]])


def test_almanac_states_true_ownership():
    owner = {number: animal for animal, own in WORLD.numbers.items() for number in own}
    prose = [document for document in only(2) if USER not in document]
    assert prose
    for document in prose:
        for entry in re.findall(r"[^.]*\d+[^.]*\.", document):
            animal = NAMES.search(entry)[0].lower()
            assert owner[int(re.search(r"\d+", entry)[0])] == SINGULARS.get(animal, animal)


def test_named_fills_every_form():
    assert filled("{one} {many} {Many} {n}", "wolf", 7) == "wolf wolves Wolves 7"
