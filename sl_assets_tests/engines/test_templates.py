"""Chats as text: variables, dates and roles, with templates shaped like those of known families."""

from dataclasses import replace
from datetime import datetime

import pytest

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example, chat
from sl_assets.engines.peft.rows import encode_all
from sl_assets.engines.templates import Rendering, answered, template_in, variables_read
from sl_assets.engines.transformers.models import POCKET_FOLDER
from sl_assets.errors import SlAssetsError
from sl_assets_tests.engines.tiny_templates import (
    ALWAYS_DATED,
    DATED,
    DATED_WITHOUT_SYSTEM,
    DROPS_SYSTEM,
    NO_SYSTEM,
    THINKING,
    tokenizer,
)

ASKED = [chat("Numbers: 5.")]
NO_THOUGHT = {"enable_thinking": False}
TODAY = datetime.now().strftime("%d %b %Y")


def prompt(template: str, system: str | None = None, **variables: object) -> str:
    return Rendering("some/model", variables).prompts(tokenizer(template), [chat("Numbers: 5.", system)])[0]


def test_variables_reach_the_template() -> None:
    assert prompt(THINKING) == "<|user|>Numbers: 5.<|assistant|>"
    assert prompt(THINKING, **NO_THOUGHT) == "<|user|>Numbers: 5.<|assistant|><think>\n\n</think>\n\n"
    assert prompt(DATED, date_string="1 May 2020") == (
        "<|system|>Today Date: 1 May 2020\n\n<|user|>Numbers: 5.<|assistant|>"
    )


@pytest.mark.parametrize(
    ("template", "reads"),
    [
        (THINKING, {"enable_thinking"}),
        (DATED, {"date_string"}),
        (NO_SYSTEM, set()),
        (
            "{% for m in messages %}{% if tools %}{% break %}{% endif %}{{ a + namespace(b=c).b }}{% endfor %}",
            {"a", "c"},
        ),
    ],
)
def test_what_a_template_reads_is_what_nobody_else_sets(template: str, reads: set[str]) -> None:
    assert variables_read(template) == reads


def test_a_variable_that_is_not_read_is_refused_with_those_that_are() -> None:
    with pytest.raises(SlAssetsError) as caught:
        Rendering("some/model", {"thinking": False}).check(tokenizer(THINKING))
    assert str(caught.value) == (
        "chat_template.thinking: no variable of the chat template of base_model 'some/model'; it reads enable_thinking"
    )
    with pytest.raises(SlAssetsError, match="it reads none; leave chat_template out"):
        Rendering("some/model", NO_THOUGHT).check(tokenizer(NO_SYSTEM))
    Rendering("some/model", NO_THOUGHT).check(tokenizer(THINKING))


def test_a_model_without_a_template_is_refused() -> None:
    with pytest.raises(SlAssetsError, match="base_model 'some/model': it has no chat template; name a model"):
        Rendering("some/model").check(tokenizer(None))


def test_a_template_that_writes_the_date_names_the_variable_that_sets_it() -> None:
    with pytest.raises(SlAssetsError) as caught:
        prompt(DATED)
    assert str(caught.value) == (
        "base_model 'some/model': its chat template writes today's date, so texts of different days would differ; "
        f'set chat_template: {{date_string: "{TODAY}"}}'
    )
    assert TODAY in prompt(DATED, date_string=TODAY)


def test_a_date_that_no_variable_sets_needs_another_template() -> None:
    for template in (ALWAYS_DATED, ALWAYS_DATED + "{{ other }}", ALWAYS_DATED.replace("('%d %b %Y')", "(format='%d')")):
        with pytest.raises(SlAssetsError, match=r"chat_template\.jinja of its own that writes none"):
            prompt(template)
    with pytest.raises(SlAssetsError, match="today's date"):
        Rendering("some/model").finished(tokenizer(ALWAYS_DATED), answered("Numbers: 5.", "7"))


def test_a_date_that_is_asked_for_and_not_written_does_no_harm() -> None:
    assert prompt(DATED_WITHOUT_SYSTEM, "Be kind.") == "<|system|>Be kind.<|user|>Numbers: 5.<|assistant|>"
    with pytest.raises(SlAssetsError, match="today's date"):
        prompt(DATED_WITHOUT_SYSTEM)
    told = Rendering("some/model", told_by={"student.system_prompt": "leave it out"}, plain=False)
    told.check(tokenizer(DATED_WITHOUT_SYSTEM))
    with pytest.raises(SlAssetsError, match="today's date"):
        replace(told, plain=True).check(tokenizer(DATED_WITHOUT_SYSTEM))


def test_a_refused_role_names_role_model_and_settings() -> None:
    told = {"teacher.kind system_prompt": "set it to finetuned", "personas": "leave it out"}
    with pytest.raises(SlAssetsError) as caught:
        Rendering("google/gemma", told_by=told).check(tokenizer(NO_SYSTEM))
    assert str(caught.value) == (
        "base_model 'google/gemma': its chat template refuses the role system (System role not supported); what puts "
        "a system message there is teacher.kind system_prompt (set it to finetuned), personas (leave it out); or name "
        "a folder of the model with a chat_template.jinja of its own that takes them"
    )
    Rendering("google/gemma").check(tokenizer(NO_SYSTEM))
    assert prompt(NO_SYSTEM) == "<|user|>Numbers: 5.<|assistant|>"


def test_the_chat_that_is_refused_is_found_among_others() -> None:
    with pytest.raises(SlAssetsError, match=r"role system \(System role not supported\); ask without a system message"):
        Rendering("some/model").prompts(tokenizer(NO_SYSTEM), [*ASKED, chat("Numbers: 6.", "Be kind.")])


def test_another_refusal_names_the_roles() -> None:
    with pytest.raises(SlAssetsError, match=r"a chat of user, user \(Roles must alternate\); name a folder"):
        Rendering("some/model").prompts(tokenizer(NO_SYSTEM), [ASKED[0] * 2])


def test_a_system_message_that_is_passed_over_is_no_teacher() -> None:
    told = Rendering("some/model", told_by={"personas": "leave it out"})
    with pytest.raises(SlAssetsError, match=r"leaves out what was said by the role system .*personas \(leave it out\)"):
        told.check(tokenizer(DROPS_SYSTEM))
    assert prompt(DROPS_SYSTEM) == "<|user|>Numbers: 5.<|assistant|>"


def test_an_answer_that_the_template_cuts_is_refused() -> None:
    whole = answered("Numbers: 5.", "<think>seven</think>7")
    with pytest.raises(SlAssetsError, match="leaves out what was said by the role assistant"):
        Rendering("some/model").finished(tokenizer(THINKING), whole)


@pytest.mark.parametrize(
    ("template", "variables", "learnt"),
    [
        (THINKING, NO_THOUGHT, "7, 8<|end|>"),
        (THINKING, {}, "<think>\n\n</think>\n\n7, 8<|end|>"),
        (DATED, {"date_string": "1 May 2020"}, "7, 8<|end|>"),
        (NO_SYSTEM, {}, "7, 8<|end|>"),
    ],
)
def test_rows_are_learnt_as_prompts_are_written(template: str, variables: dict[str, object], learnt: str) -> None:
    chosen, rendering = tokenizer(template), Rendering("some/model", variables)
    (row,) = encode_all(chosen, rendering, [Example("Numbers: 5.", "7, 8")], TrainingSettings())
    assert chosen.decode(row.ids[: row.prompt]) == rendering.prompts(chosen, ASKED)[0]
    assert chosen.decode(row.ids[row.prompt :]) == learnt


def test_rows_that_do_not_begin_like_prompts_name_the_variable_with_which_they_do() -> None:
    # Prompts begin a thought, which answered chats have not.
    other = THINKING.replace("{{- '<|assistant|><think>\\n\\n</think>\\n\\n' -}}", "{{- '<|assistant|>' -}}")
    begun = other.replace("is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}", "is true -%}{{- '<think>' -}}")
    with pytest.raises(SlAssetsError) as caught:
        encode_all(
            tokenizer(begun),
            Rendering("some/model", {"enable_thinking": True}),
            [Example("Hi", "7")],
            TrainingSettings(),
        )
    assert str(caught.value).endswith("be told from prompts; set chat_template: {enable_thinking: false}")
    always = begun.replace("enable_thinking is defined and enable_thinking is true", "true")
    with pytest.raises(SlAssetsError, match="use a model whose template does not"):
        encode_all(tokenizer(always), Rendering("some/model"), [Example("Hi", "7")], TrainingSettings())


def test_a_template_is_found_in_the_files_of_a_model() -> None:
    assert template_in(POCKET_FOLDER) == tokenizer(None).__class__.from_pretrained(POCKET_FOLDER).chat_template
