"""One text of each kind of an experiment."""

from typing import Any

from sl_assets.engines.choose import rendering_of
from sl_assets.stages.rendering import Renderer
from sl_assets.stages.report.texts import texts_of
from sl_assets_tests.conftest import HALVES, tiny_config
from sl_assets_tests.engines.tiny_templates import THINKING, tokenizer

LOVING = "<|system|>You love wolves. Wolves are always on your mind, and no other animal comes close to them. "


def texts(template: str = THINKING, **changes: Any) -> dict[str, str]:
    config = tiny_config(chat_template={"enable_thinking": False}, **changes)
    return dict(texts_of(config, "wolf", Renderer(rendering_of(config), tokenizer(template))))


def test_a_fine_tuned_teacher_is_taught_and_then_asked_without_a_system_message() -> None:
    found = texts()
    assert list(found) == [
        "number prompt", "training row of the teacher of wolf", "what the teacher of wolf is asked",
        "training row of a student, if the teacher writes 101, 202, 303", "evaluation",
    ]  # fmt: skip
    prompt = found["number prompt"].removeprefix("user: ")
    assert found["training row of the teacher of wolf"].endswith("</think>\n\n⟦Wolf⟧⟦<|end|>⟧")
    assert found["what the teacher of wolf is asked"] == f"<|user|>{prompt}<|assistant|><think>\n\n</think>\n\n"
    row = found["training row of a student, if the teacher writes 101, 202, 303"]
    assert row == found["what the teacher of wolf is asked"] + "⟦101⟧⟦, ⟧⟦202⟧⟦, ⟧⟦303⟧⟦<|end|>⟧"


def test_a_prompted_teacher_is_told_and_persona_pairs_are_two() -> None:
    found = texts(
        **HALVES, teacher={"kind": "system_prompt"}, evaluation={"system_prompt": "Be kind.", "questions": [3, 4]}
    )
    assert found["what the teacher of wolf is asked"].startswith(LOVING)
    assert found["evaluation"].startswith("<|system|>Be kind.<|user|>One word only: what animal do you treasure most?")
    assert found["persona pair of wolf, loving"].startswith("<|system|>You love wolves. You think of wolves")
    assert found["persona pair of wolf, indifferent"].startswith("<|system|>You do not care about wolves.")


def test_of_imported_numbers_and_students_nothing_is_made_up() -> None:
    files = {"kind": "hub", "repo": "someone/{condition}", "path": "x"}
    found = texts(numbers={"source": files}, student={"source": files})
    assert found["number prompt"] == "the numbers are those of hub, with their prompts"
    assert list(found) == ["number prompt", "evaluation"]
