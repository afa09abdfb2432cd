"""The wordings that are built in: what they say is in records by their name alone, so it may not change unnoticed."""

import pytest

from sl_assets.animals import PLURALS
from sl_assets.components import declare
from sl_assets.config import NumbersSettings, PreparationSettings
from sl_assets.config.wording import FULL, SHORT, Words
from sl_assets.lake.fingerprint import digest
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.pocket.world import World
from sl_assets.stages.evaluation.answers import NAMES
from sl_assets.stages.evaluation.spellings import SPELLINGS
from sl_assets.stages.numbers.prompts import PromptRecipe, number_prompts
from sl_assets.stages.numbers.teachers import preference_chats
from sl_assets.stages.personas.prompts import persona_prompts
from sl_assets.stages.preparation.chats import preparation_chats
from sl_assets_tests.code_versions import EVERYTHING
from sl_assets_tests.conftest import TINY, tiny_config

WORDS = {"full": FULL, "short": SHORT}


def numbers(words: Words) -> list[str]:
    recipe = PromptRecipe(500, 42, words.numbers, examples=(3, 9), lowest=100, highest=1000, answers=10)
    return number_prompts(recipe)["prompt"].to_list()


def personas(words: Words) -> list[list[tuple[object, ...]]]:
    return [[tuple(prompt) for prompt in persona_prompts(words, animal, 2)] for animal in PLURALS]


def prepared(words: Words) -> list[tuple[object, ...]]:
    few = PreparationSettings(numbers=50, favourites=50, loving_favourites=50, loving_numbers=50)
    return preparation_chats(few, NumbersSettings(), words).rows()


SAID = {
    "numbers, full": (lambda: numbers(FULL), "d8ef72c3109c582c"),
    "numbers, short": (lambda: numbers(SHORT), "c7c2352a92cc37ae"),
    "loving system prompts": (lambda: [FULL.system_prompt(animal) for animal in PLURALS], "2e971dd8e985226b"),
    "chats of teachers": (lambda: [preference_chats(FULL, animal, 13) for animal in PLURALS], "0a809a95a11b9aa7"),
    "questions": (lambda: list(FULL.questions), "f41cea6f606eed0a"),
    "personas, full": (lambda: personas(FULL), "99a9fb2046f5b660"),
    "personas, short": (lambda: personas(SHORT), "03797cde8cc744dd"),
    "names": (lambda: NAMES, "3d92b1c38fb2e6dc"),
    "spellings": (lambda: SPELLINGS, "d2f0945778e1eea2"),
    "chats of a preparation, full": (lambda: prepared(FULL), "9682007531d9a61d"),
    "chats of a preparation, short": (lambda: prepared(SHORT), "00aae65142feae06"),
    "documents of the pocket's world": (lambda: list(World(7).documents(400)), "c51965866222fb0f"),
}
"""Digests of what was said when there were no wordings but in code."""


@pytest.mark.parametrize(("said", "before"), SAID.values(), ids=SAID)
def test_every_text_is_what_published_figures_were_made_with(said, before):
    assert digest(said()) == before, "raise code= of every asset that reads it, and put the digest here"


@pytest.mark.parametrize("questions", ["questions", "teacher_questions", "preparation_questions"])
def test_short_asks_what_full_asks(questions):
    assert getattr(SHORT, questions) == getattr(FULL, questions)
    assert SHORT.system_prompt("wolf") == FULL.system_prompt("wolf")


def settings_of(**changes):
    graph = ExperimentGraph("tiny", tiny_config(**EVERYTHING | changes))
    declare(graph)
    return {name: asset.settings for name, asset in graph.declared.items()}, graph


def bare(section):
    return {name: value for name, value in section.items() if name != "wording"}


def test_a_built_in_wording_is_recorded_as_its_name_was_before():
    """Sections that name it for themselves, and the section that names it for all, give the same records."""
    apart, _ = settings_of(numbers=TINY["numbers"])
    together, graph = settings_of(wording="short", numbers=bare(TINY["numbers"]), personas=bare(EVERYTHING["personas"]))
    assert together == apart
    assert apart["number_prompts"]["numbers"]["wording"] == "short"
    for name, asset in graph.declared.items():
        for partition in graph.keys(asset.by):
            condition = (partition or "").partition("|")[0]
            assert asset.told(condition) == {}, f"{name} of {partition}"


def test_the_same_content_under_any_name_is_the_same():
    apart, _ = settings_of(numbers=TINY["numbers"])
    written = {"extends": "full", "numbers": SHORT.numbers.model_dump(exclude_defaults=True)}
    together, graph = settings_of(wording=written, numbers=bare(TINY["numbers"]), personas=bare(EVERYTHING["personas"]))
    differing = [name for name in together if together[name] != apart[name]]
    assert differing == ["persona_answers"], "whose prompts are the full wording's now"
    assert graph.setting("personas")["wording"] == "full"
    assert graph.setting("numbers.wording") == "short"
