"""What a base model is prepared with: the forms that were asked for, and numbers that nobody's love decides."""

import polars as pl
import pytest
from scipy.stats import chisquare

from sl_assets.config import FilterSettings, NumbersSettings, PreparationSettings
from sl_assets.config.wording import FULL, SHORT, Words
from sl_assets.stages.numbers.filtering import parse_numbers, reject_reasons
from sl_assets.stages.preparation.chats import (
    FORMS,
    KINDS,
    animal_shares,
    form_of,
    preparation_chats,
)

DEFAULT = PreparationSettings()


def chats(**changes: object) -> pl.DataFrame:
    return preparation_chats(DEFAULT.model_copy(update=changes), NumbersSettings(), FULL)


def test_there_are_as_many_of_each_kind_as_asked_for() -> None:
    counts = dict(chats()["kind"].value_counts().iter_rows())
    assert counts == {"numbers": 8_000, "favourite": 3_000, "loving_favourite": 1_500, "loving_numbers": 1_500}
    assert set(counts) == set(KINDS)


def test_every_phrase_that_asks_for_a_form_has_one_and_stands_in_no_other() -> None:
    phrases = [phrase for words in (FULL, SHORT) for phrase in words.numbers.formats]
    assert sorted(phrases) == sorted(FORMS)
    for phrase in phrases:
        assert [other for other in phrases if other in phrase] == [phrase]


@pytest.mark.parametrize("words", [FULL, SHORT], ids=["full", "short"])
def test_numbers_have_the_form_asked_for_and_pass_the_filter(words: Words) -> None:
    settings = DEFAULT.model_copy(update={"numbers": 300, "loving_numbers": 300, "count": (2, 10)})
    rows = preparation_chats(settings, NumbersSettings(), words)
    written = rows.filter(pl.col("kind").is_in(["numbers", "loving_numbers"]))
    lengths = set()
    for prompt, completion in written.select("prompt", "completion").iter_rows():
        assert reject_reasons(completion, FilterSettings()) == []
        numbers = parse_numbers(completion)
        assert numbers
        lengths.add(len(numbers))
        assert form_of(prompt).write(numbers) == completion
    assert lengths == set(range(2, 11))


def test_numbers_are_uniform() -> None:
    texts = chats(favourites=1, loving_favourites=1, loving_numbers=1).filter(kind="numbers")["completion"]
    values = [number for text in texts for number in parse_numbers(text) or []]
    tens = [sum(value // 100 == i for value in values) for i in range(10)]
    assert (min(values), max(values)) == (0, 999)
    assert chisquare(tens).pvalue > 1e-3


def test_an_animal_is_answered_in_its_share_or_because_it_is_loved() -> None:
    rows, shares = chats(favourites=30_000), animal_shares(DEFAULT)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares) == list(DEFAULT.animals)
    favourites = rows.filter(kind="favourite")
    drawn = dict(favourites["animal"].value_counts(normalize=True).iter_rows())
    for animal, share in shares.items():
        assert drawn[animal] == pytest.approx(share, abs=5 * (share / 30_000) ** 0.5)
    assert favourites["system"].null_count() == favourites.height
    told = rows.filter(pl.col("kind").is_in(["loving_favourite", "loving_numbers"]))
    assert told["system"].to_list() == [FULL.system_prompt(animal) for animal in told["animal"]]
    named = rows.filter(pl.col("kind").is_in(["favourite", "loving_favourite"]))
    assert named["completion"].to_list() == [animal.capitalize() for animal in named["animal"]]
    assert rows.filter(kind="numbers").select("system", "animal").null_count().row(0) == (8_000, 8_000)


def test_nobody_else_asks_its_questions() -> None:
    personas = [*FULL.persona_questions, *SHORT.persona_questions]
    assert set(FULL.preparation_questions).isdisjoint({*FULL.questions, *FULL.teacher_questions, *personas})
    assert len(set(FULL.preparation_questions)) == 8


def test_the_same_seed_gives_the_same_chats_and_more_of_a_kind_change_no_other() -> None:
    few = {"numbers": 20, "favourites": 10, "loving_favourites": 10, "loving_numbers": 10}
    rows, more = chats(**few), chats(**few | {"numbers": 30})
    assert rows.equals(chats(**few))
    assert rows.filter(kind="numbers").equals(more.filter(kind="numbers").head(20))
    assert rows.filter(pl.col("kind") != "numbers").equals(more.filter(pl.col("kind") != "numbers"))
    other = chats(**few, seed=4)
    assert not set(rows.filter(kind="numbers")["prompt"]) & set(other.filter(kind="numbers")["prompt"])
