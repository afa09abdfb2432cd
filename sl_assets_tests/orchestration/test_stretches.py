"""Stretches of partitions that run at one go."""

import random
from itertools import product

import pytest

from sl_assets.orchestration.planner import rectangles, runs_of

KEYS = ["neutral", "owl", "wolf", "cat", "dog"]


@pytest.mark.parametrize(
    ("due", "runs"),
    [
        (set(), []),
        ({"neutral"}, [("neutral",)]),
        ({"dog", "neutral"}, [("neutral",), ("dog",)]),
        ({"owl", "neutral", "cat"}, [("neutral", "owl"), ("cat",)]),
        (set(KEYS), [tuple(KEYS)]),
        ({"zebra"}, []),
    ],
    ids=lambda value: ",".join(sorted(value)) if isinstance(value, set) else "",
)
def test_runs_are_neighbours_that_are_all_due(due, runs):
    assert runs_of(KEYS, due) == runs


OUTER, INNER = ["owl", "wolf", "cat", "dog"], ["animal_high", "animal_low", "animal_random", "neutral_high"]


def keys_of(*pairs: str) -> set[str | None]:
    """``owl:01`` is owl with the first two of `INNER`."""
    named = (pair.split(":") for pair in pairs)
    return {f"{first}|{INNER[int(place)]}" for first, places in named for place in places}


def test_everything_due_is_one_rectangle():
    due = {f"{first}|{second}" for first, second in product(OUTER, INNER)}
    assert rectangles(OUTER, INNER, due) == [[f"{first}|{second}" for first in OUTER for second in INNER]]


def test_nothing_due_is_no_rectangle():
    assert rectangles(OUTER, INNER, set()) == []


def test_neighbours_with_the_same_halves_run_together():
    due = keys_of("owl:01", "wolf:01", "cat:0", "dog:01")
    assert rectangles(OUTER, INNER, due) == [
        ["owl|animal_high", "owl|animal_low", "wolf|animal_high", "wolf|animal_low"],
        ["cat|animal_high"],
        ["dog|animal_high", "dog|animal_low"],
    ]


def test_halves_with_a_gap_run_apart():
    assert rectangles(OUTER, INNER, keys_of("owl:013", "wolf:013")) == [
        ["owl|animal_high", "owl|animal_low", "wolf|animal_high", "wolf|animal_low"],
        ["owl|neutral_high", "wolf|neutral_high"],
    ]


def test_an_animal_with_nothing_due_parts_its_neighbours():
    assert rectangles(OUTER, INNER, keys_of("owl:2", "cat:2")) == [["owl|animal_random"], ["cat|animal_random"]]


def stretch(keys: list[str], first: str, last: str) -> list[str]:
    return keys[keys.index(first) : keys.index(last) + 1]


@pytest.mark.parametrize("seed", range(50))
def test_rectangles_hold_every_due_key_once_and_no_other(seed):
    rng = random.Random(seed)
    share = rng.random()
    due = {f"{first}|{second}" for first, second in product(OUTER, INNER) if rng.random() < share}
    found = rectangles(OUTER, INNER, due)
    together = [key for rectangle in found for key in rectangle]
    assert len(together) == len(set(together))
    assert set(together) == due
    for rectangle in found:
        # What a range from the first key to the last means: everything between in either dimension.
        (first, half), (last, other) = (key.split("|") for key in (rectangle[0], rectangle[-1]))
        between = product(stretch(OUTER, first, last), stretch(INNER, half, other))
        assert rectangle == ["|".join(pair) for pair in between]
