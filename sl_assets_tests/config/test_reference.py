"""docs/reference/experiment-file.md is what the schema gives, and the schema says of every setting what it means."""

import pytest

from sl_assets.config import PROJECT, ExperimentConfig, NumbersSettings, StudentSettings
from sl_assets.config.reference import MAPPINGS, NEEDED, Group, Setting, groups, page
from sl_assets.config.unused import UNUSED

PAGE = PROJECT / "docs" / "reference" / "experiment-file.md"


def setting(name: str, kind: str | None = None) -> Setting:
    (found,) = [one for group in groups() if group.kind == kind for one in group.settings if group.full(one) == name]
    return found


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "make reference writes it anew"


def test_every_setting_says_what_it_means() -> None:
    assert [group.full(one) for group in groups() for one in group.settings if not one.meaning] == []
    assert [group.title for group in groups() if not group.about] == []


def test_a_section_stands_there_once() -> None:
    titles = [group.title for group in groups()]
    assert len(set(titles)) == len(titles)
    assert "numbers.source.fields" in titles


def test_every_field_of_a_section_is_there() -> None:
    by_model = {group.model: group for group in groups()}
    for model in (ExperimentConfig, NumbersSettings, StudentSettings):
        assert [one.name for one in by_model[model.__name__].settings] == list(model.model_fields)


@pytest.mark.parametrize(
    ("name", "kind", "type_", "default"),
    [
        ("student.rank", None, "whole number (at least 1)", "8"),
        ("student.dropout", None, "number (at least 0, below 1)", "0.0"),
        ("student.loss", None, "one of `completion`, `all`", "completion"),
        ("student.lora", None, "true or false", "true"),
        ("student.keep_epochs", None, "list of whole numbers (at least 1)", "[]"),
        ("numbers.examples", None, "list of 2 whole numbers (at least 1)", "[3, 9]"),
        ("numbers.temperature", None, "number (at least 0) or null", "left out"),
        ("animals", None, "list of one or more texts", NEEDED),
        ("teacher.chats", "finetuned", "whole number (at least 1)", "768"),
        ("numbers.source.path", "jsonl", "text", NEEDED),
        ("personas.judge", None, "section of kind `rule`, `model`", "rule"),
    ],
)
def test_types_bounds_and_defaults(name: str, kind: str | None, type_: str, default: str) -> None:
    found = setting(name, kind)
    assert (found.type, found.default) == (type_, default)


def test_what_has_no_effect_stands_below_its_section() -> None:
    reasons = {(group.place, why) for group in groups() for _, why in group.refusals()}
    assert reasons == {("" if row.section in MAPPINGS else row.section, row.why) for row in UNUSED}
    by_title: dict[str, Group] = {group.title: group for group in groups()}
    of_student = {why: names for names, why in by_title["student"].refusals()}
    adapter = ("rank", "alpha", "dropout", "target_modules", "layers", "rslora")
    assert of_student["there is no adapter where lora is false"] == adapter
    assert by_title["teacher of kind system_prompt"].refusals() == []
