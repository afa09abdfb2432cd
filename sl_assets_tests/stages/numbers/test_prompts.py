"""Number prompts: the draw and the prompts' identities."""

import re
from dataclasses import replace

import polars as pl
import pytest

from sl_assets.config.wording import FULL, SHORT
from sl_assets.stages.numbers.prompts import PromptRecipe, number_prompts, with_prompt_ids

RECIPE = PromptRecipe(count=300, seed=5, wording=SHORT.numbers, examples=(2, 4), lowest=120, highest=140, answers=17)


def examples_of(prompt: str) -> list[int]:
    """The run of comma-separated numbers, which stands before every other number of a prompt."""
    return [int(number) for number in re.search(r"\d+(, \d+)*", prompt)[0].split(", ")]


def test_same_recipe_gives_the_same_prompts():
    assert number_prompts(RECIPE).equals(number_prompts(RECIPE))


def test_another_seed_gives_other_prompts():
    ours = set(number_prompts(RECIPE)["prompt"])
    assert len(ours.intersection(number_prompts(replace(RECIPE, seed=6))["prompt"])) < len(ours) / 2


@pytest.mark.parametrize("count", [1, 10, 299])
def test_longer_draw_starts_with_the_shorter_one(count):
    assert number_prompts(replace(RECIPE, count=count)).equals(number_prompts(RECIPE)[:count])


def test_columns_and_count():
    prompts = number_prompts(RECIPE)
    assert prompts.schema == {"prompt_id": pl.String, "prompt": pl.String}
    assert prompts.height == RECIPE.count


@pytest.mark.parametrize(("fewest", "most"), [(2, 4), (3, 3), (1, 9)])
def test_number_of_examples_spans_the_recipe(fewest, most):
    prompts = number_prompts(replace(RECIPE, examples=(fewest, most)))["prompt"]
    assert {len(examples_of(prompt)) for prompt in prompts} == set(range(fewest, most + 1))


@pytest.mark.parametrize(("lowest", "highest"), [(120, 140), (0, 0), (5, 12)])
def test_examples_span_the_range_both_ends_included(lowest, highest):
    prompts = number_prompts(replace(RECIPE, lowest=lowest, highest=highest))["prompt"]
    seen = {number for prompt in prompts for number in examples_of(prompt)}
    assert seen == set(range(lowest, highest + 1))


@pytest.mark.parametrize("wording", [SHORT.numbers, FULL.numbers], ids=["short", "full"])
def test_prompts_ask_for_the_recipes_number_of_answers(wording):
    prompts = number_prompts(replace(RECIPE, wording=wording))["prompt"]
    assert all(re.search(r"\b17\b", prompt) for prompt in prompts)


@pytest.mark.parametrize("wording", [SHORT.numbers, FULL.numbers], ids=["short", "full"])
def test_every_phrase_of_the_wording_occurs(wording):
    text = "\n".join(number_prompts(replace(RECIPE, wording=wording))["prompt"])
    phrases = [*wording.openings, *wording.requests, *wording.formats, *wording.endings]
    assert all(phrase.split("{")[0].strip() in text for phrase in phrases)
    assert "{" not in text


def test_equal_prompts_get_distinct_ids():
    ids = with_prompt_ids(pl.DataFrame({"prompt": ["a", "b", "a", "a"]}))["prompt_id"]
    assert ids.n_unique() == 4


def test_ids_depend_on_the_prompt_and_its_repetition_alone():
    ids = with_prompt_ids(pl.DataFrame({"prompt": ["a", "b", "a"]}))["prompt_id"].to_list()
    moved = with_prompt_ids(pl.DataFrame({"prompt": ["b", "c", "a", "a"]}))["prompt_id"].to_list()
    assert moved[0] == ids[1]
    assert moved[2:] == [ids[0], ids[2]]


def test_ids_are_unique_where_prompts_repeat_often():
    prompts = number_prompts(replace(RECIPE, examples=(1, 1), lowest=1, highest=1))
    assert prompts["prompt"].n_unique() < prompts.height
    assert prompts["prompt_id"].n_unique() == prompts.height


def test_other_columns_stay():
    rows = with_prompt_ids(pl.DataFrame({"prompt": ["a"], "completion": ["1"]}))
    assert rows.columns == ["prompt_id", "prompt", "completion"]
