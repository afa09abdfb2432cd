"""docs/recipes.md says of the shipped experiments what their files say, and what is behind marks there is valid."""

import json
import re
from functools import reduce

import pytest
import yaml

from sl_assets.components import DEFS
from sl_assets.config import PROJECT, ExperimentConfig
from sl_assets.config.reading import validated
from sl_assets.config.variants import variants_of

PAGE = (PROJECT / "docs" / "recipes.md").read_text()
REAL = ("gpt41_nano", "olmo3_7b", "qwen25_14b", "qwen25_7b", "smollm2_135m")
ROWS = re.findall(r"^\| `([\w.]+)` \| .* \| (.*) \|$", PAGE, flags=re.MULTILINE)


def shipped(name: str) -> ExperimentConfig:
    return validated(yaml.safe_load((DEFS / name / "defs.yaml").read_text())["attributes"])


@pytest.mark.parametrize(("setting", "said"), ROWS)
def test_a_setting_is_what_the_page_says(setting: str, said: str) -> None:
    found = reduce(getattr, setting.split("."), shipped("olmo3_7b"))
    assert (found if isinstance(found, str) else json.dumps(found)) == said


def test_the_page_has_the_settings_of_the_recipe() -> None:
    assert len(ROWS) == 22


@pytest.mark.parametrize("name", REAL)
def test_prompts_have_the_published_ranges(name: str) -> None:
    numbers = shipped(name).numbers
    assert (numbers.examples, numbers.lowest, numbers.highest) == ((3, 8), 100, 999)


@pytest.mark.parametrize("name", ["olmo3_7b", "qwen25_14b", "qwen25_7b"])
def test_models_of_the_hub_are_named_at_a_commit(name: str) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", shipped(name).base_model)


@pytest.mark.parametrize("name", ["olmo3_7b", "qwen25_14b"])
def test_what_stands_behind_marks_can_be_taken_in(name: str) -> None:
    text = (DEFS / name / "defs.yaml").read_text()
    marked = re.sub(r"^  # (variants:|  \w+: \{|splits:)", r"  \1", text, flags=re.MULTILINE)
    assert marked != text
    attributes = yaml.safe_load(marked)["attributes"]
    config = validated(attributes)
    if name == "qwen25_14b":
        assert len(config.splits) == 6
    else:
        (variant,) = variants_of(attributes, config).values()
        assert (variant.student.epochs, variant.student.kept, variant.splits) == (3, (3,), ())
        assert variant.numbers == config.numbers
