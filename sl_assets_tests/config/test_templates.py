"""What a file may say of a chat template, and what becomes of it in records."""

import datetime
import re
from typing import Any

import pytest

from sl_assets.components import declare
from sl_assets.config import RECORDED, ExperimentConfig
from sl_assets.config.reading import validated
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets_tests.conftest import HALVES, PREPARATION, TINY, tiny_config

NO_THOUGHT = {"enable_thinking": False}
EVERYTHING = HALVES | PREPARATION | {"evaluation": TINY["evaluation"] | {"method": "both"}}


def settings_by_asset(**changes: Any) -> dict[str, dict[str, Any]]:
    graph = ExperimentGraph("tiny", tiny_config(**EVERYTHING | changes))
    declare(graph)
    return {name: dict(declared.settings) for name, declared in graph.declared.items()}


def test_whatever_renders_chats_records_the_variables_and_nothing_else_does() -> None:
    before, after = settings_by_asset(), settings_by_asset(chat_template=NO_THOUGHT)
    recorded = {name for name in after if after[name] != before[name]}
    assert recorded == {
        "prepared_model", "teacher_checkpoint", "raw_dataset", "lora_checkpoint", "baseline_evaluation",
        "baseline_answer_probabilities", "evaluation", "answer_probabilities", "teacher_evaluation", "persona_answers",
        "persona_vector", "activations", "split_lora_checkpoint", "split_evaluation", "split_answer_probabilities",
    }  # fmt: skip
    for name in recorded:
        assert after[name] == before[name] | {"chat_template": NO_THOUGHT}


def test_without_variables_records_are_what_they_were() -> None:
    assert settings_by_asset(chat_template={}) == settings_by_asset()
    assert "chat_template" not in tiny_config().model_dump(mode="json")


def test_variables_are_read_again_from_a_record() -> None:
    config = tiny_config(chat_template={"date_string": "1 May 2020", "budget": 0.5, "few": 3} | NO_THOUGHT)
    again = ExperimentConfig.model_validate(config.model_dump(mode="json"), context=RECORDED)
    assert again.chat_template == {"date_string": "1 May 2020", "budget": 0.5, "few": 3, "enable_thinking": False}
    assert [type(value) for value in again.chat_template.values()] == [str, float, int, bool]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"messages": "x"}, "messages is set where a chat is rendered: leave it out"),
        ({"add_generation_prompt": True}, "add_generation_prompt is set where a chat is rendered"),
        ({"strftime_now": "x"}, "strftime_now is set where a chat is rendered"),
        ({"bos_token": ""}, "bos_token is set where a chat is rendered"),
        ({"enable thinking": True}, "'enable thinking' is no name of a variable"),
        ({"a": [1]}, "a = [1]: write true, false, a number or a text in quotes"),
        ({"a": None}, "a = None: write true, false, a number or a text in quotes"),
        ({"date_string": datetime.date(2024, 7, 26)}, "date_string = datetime.date(2024, 7, 26): write true, false"),
    ],
)
def test_what_is_no_variable_is_refused_in_one_line(variables: dict[str, Any], says: str) -> None:
    with pytest.raises(ExperimentFileError, match=re.escape(says)) as caught:
        validated(TINY | {"chat_template": variables})
    assert len(caught.value.lines) == 1
    assert str(caught.value).startswith("attributes.chat_template")


def test_a_judge_has_a_template_of_its_own() -> None:
    judge = {"kind": "model", "base_model": "some/judge"}
    plain = tiny_config(personas={"judge": judge}).personas
    quiet = tiny_config(personas={"judge": judge | {"chat_template": NO_THOUGHT}}).personas
    assert plain
    assert quiet
    assert plain.model_dump(mode="json")["judge"] == judge
    assert quiet.model_dump(mode="json")["judge"] == judge | {"chat_template": NO_THOUGHT}
    asked = judge | {"engine": "openai", "chat_template": NO_THOUGHT}
    with pytest.raises(ExperimentFileError, match="chat_template: engine openai renders chats itself; leave it out"):
        validated(TINY | {"personas": {"judge": asked}})


def test_settings_that_put_a_system_message_into_chats_are_known() -> None:
    assert list(tiny_config().system_messages) == []
    prompted = tiny_config(teacher={"kind": "system_prompt"}, personas={}, student={"system_prompt": ""})
    assert list(prompted.system_messages) == ["teacher.kind system_prompt", "student.system_prompt", "personas"]
    asked = tiny_config(evaluation={"system_prompt": "Be kind."}, **PREPARATION)
    assert list(asked.system_messages) == ["evaluation.system_prompt", "preparation"]
    files = {"kind": "jsonl", "path": "{condition}.jsonl"}
    imported = tiny_config(teacher={"kind": "system_prompt"}, numbers={"source": files})
    assert list(imported.system_messages) == []


def test_who_is_asked_without_a_system_message() -> None:
    told = {"student": {"system_prompt": ""}, "evaluation": {"system_prompt": ""}}
    files = {"numbers": {"source": {"kind": "jsonl", "path": "{condition}.jsonl"}}}
    assert tiny_config(**told).asks_plainly, "prompted or not, the neutral teacher is"
    assert tiny_config(**files).asks_plainly
    assert not tiny_config(**told, **files).asks_plainly
