"""docs/templates.md shows settings that load, and lines that are said."""

import re
from datetime import datetime
from typing import Any

import pytest
import yaml

from sl_assets.config import PROJECT, ExperimentConfig, ModelJudge
from sl_assets.config.reading import validated
from sl_assets.engines.choose import rendering_of
from sl_assets.engines.interfaces import chat
from sl_assets.engines.templates import Rendering
from sl_assets.errors import SlAssetsError
from sl_assets.stages.checking import frames_of
from sl_assets_tests.engines.tiny_templates import DATED, NO_SYSTEM, THINKING, tokenizer

PAGE = (PROJECT / "docs" / "templates.md").read_text()


def thinking_model(**changes: Any) -> ExperimentConfig:
    """The experiment on the page."""
    (written,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    return validated(yaml.safe_load(written)["attributes"] | changes)


def test_the_thinking_model_is_trained_as_it_is_asked() -> None:
    config = thinking_model()
    assert frames_of(config, tokenizer(THINKING)).problem is None
    after = {
        "a training row": rendering_of(config).trained_frame(tokenizer(THINKING), None).after,
        "a question, as the template has it": Rendering().asked_frame(tokenizer(THINKING), None).after,
        "a question with `enable_thinking: false`": rendering_of(config).asked_frame(tokenizer(THINKING), None).after,
    }
    for name, text in after.items():
        shown = text.replace("\n", "\\n").replace("|", "\\|")
        assert f"| {name} | `{shown}` |" in PAGE


def test_without_the_variable_the_check_says_what_the_page_says() -> None:
    problem = frames_of(thinking_model(chat_template={}), tokenizer(THINKING)).problem
    assert f"\n{problem}\n" in PAGE


def test_the_page_has_the_line_of_a_date() -> None:
    with pytest.raises(SlAssetsError) as caught:
        Rendering("some/model").prompts(tokenizer(DATED), [chat("Hi.")])
    assert str(caught.value).replace(datetime.now().strftime("%d %b %Y"), "26 Jul 2024") in PAGE


def test_the_page_has_the_line_of_a_role() -> None:
    config = thinking_model(base_model="some/model", chat_template={}, personas={})
    with pytest.raises(SlAssetsError) as caught:
        rendering_of(config).check(tokenizer(NO_SYSTEM))
    assert f"\n{caught.value}\n" in PAGE


def test_the_page_has_the_fields() -> None:
    fields = {
        "chat_template": ExperimentConfig.model_fields["chat_template"],
        "personas.judge.chat_template": ModelJudge.model_fields["chat_template"],
    }
    rows = [f"| `{name}` | {field.default or 'none'} | {field.description} |" for name, field in fields.items()]
    assert [line for line in PAGE.splitlines() if line.startswith("| `")] == rows
