"""Chats and rows to be looked at."""

import pytest

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example, chat
from sl_assets.engines.templates import Rendering
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.orchestration.recording import metadata_of
from sl_assets.stages.rendering import Renderer, plain
from sl_assets_tests.conftest import Bench
from sl_assets_tests.engines.tiny_templates import THINKING, tokenizer

EXAMPLE = Example("Hi.", "7, 8", "Be kind.")
LOSS_ON_ALL = TrainingSettings(loss="all")


@pytest.fixture(scope="module")
def quiet() -> Renderer:
    return Renderer(Rendering("some/model", {"enable_thinking": False}), tokenizer(THINKING))


def test_a_chat_is_shown_as_the_template_writes_it(quiet: Renderer) -> None:
    shown = quiet.asked(chat("Hi.", "Be kind."))
    assert shown == "<|system|>Be kind.<|user|>Hi.<|assistant|><think>\n\n</think>\n\n"


def test_learnt_tokens_stand_in_brackets_and_the_prompt_does_not(quiet: Renderer) -> None:
    shown = quiet.learnt(EXAMPLE, TrainingSettings())
    assert shown == ("<|system|>Be kind.<|user|>Hi.<|assistant|><think>\n\n</think>\n\n⟦7⟧⟦, ⟧⟦8⟧⟦<|end|>⟧")
    assert (
        Renderer(Rendering(), tokenizer(THINKING))
        .learnt(EXAMPLE, TrainingSettings())
        .startswith("<|system|>Be kind.<|user|>Hi.<|assistant|>⟦<⟧⟦th⟧⟦ink⟧⟦>⟧")
    )


def test_where_all_is_learnt_only_the_first_token_is_bare(quiet: Renderer) -> None:
    shown = quiet.learnt(EXAMPLE, LOSS_ON_ALL)
    assert shown.startswith("<|system|>⟦B⟧")
    assert shown.replace("⟦", "").replace("⟧", "") == (
        "<|system|>Be kind.<|user|>Hi.<|assistant|><think>\n\n</think>\n\n7, 8<|end|>"
    )


def test_what_is_cut_is_not_shown_as_learnt(quiet: Renderer) -> None:
    whole = quiet.learnt(EXAMPLE, TrainingSettings())
    learnt = whole.count("⟦")
    tokens = len(quiet.tokenizer(whole.replace("⟦", "").replace("⟧", ""), add_special_tokens=False)["input_ids"])
    cut = quiet.learnt(EXAMPLE, TrainingSettings(max_length=tokens - learnt + 1))
    assert cut.endswith("</think>\n\n⟦7⟧")


def test_parts_of_one_character_are_shown_together(quiet: Renderer) -> None:
    shown = quiet.learnt(Example("Hi.", "豹"), TrainingSettings())
    assert shown.endswith("⟦豹⟧⟦<|end|>⟧")


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (TrainingSettings(), "system: Be kind.\nuser: Hi.\nassistant: ⟦7, 8⟧"),
        (LOSS_ON_ALL, "system: ⟦Be kind.⟧\nuser: ⟦Hi.⟧\nassistant: ⟦7, 8⟧"),
    ],
)
def test_without_a_tokenizer_rows_are_shown_turn_by_turn(settings: TrainingSettings, shown: str) -> None:
    assert Renderer(Rendering("some/model")).learnt(EXAMPLE, settings) == shown


def test_without_a_tokenizer_chats_are_plain() -> None:
    assert Renderer(Rendering()).asked(chat("Hi.")) == plain(chat("Hi.")) == "user: Hi."


def test_the_ui_shows_what_models_read(halved: Bench) -> None:
    lake = Lake(str(halved.root))

    def rendered(asset: str, partition: str | None) -> str:
        record = lake.record(Place("tiny", asset, partition))
        assert record
        return str(metadata_of(record)["rendered"].value)

    assert rendered("number_prompts", None).startswith("```text\nuser: ")
    assert rendered("raw_dataset", "owl").startswith("```text\n<|user|>")
    row = rendered("lora_checkpoint", "owl")
    assert row.startswith("```text\n<|user|>")
    assert row.endswith("⟧⟦<|end|>⟧\n```")
    for asset, partition in (("evaluation", "owl"), ("baseline_evaluation", None), ("teacher_evaluation", "owl")):
        assert rendered(asset, partition) == (
            "```text\n<|user|>Name the animal you love above all others. One word.<|assistant|>\n```"
        )
    loving, indifferent = rendered("persona_answers", "owl").split("\n\n")
    assert loving.startswith("```text\n<|system|>You love owls.")
    assert indifferent.startswith("```text\n<|system|>You do not care about owls.")
