"""Previews and pictures in the UI."""

import base64
from dataclasses import replace
from datetime import date

import dagster as dg
import polars as pl
import pytest

from sl_assets.lake.places import Place
from sl_assets.lake.records import Outcome
from sl_assets.orchestration.metadata import (
    CODE_LENGTH,
    PREVIEW_ROWS,
    PREVIEW_WIDTH,
    FilePath,
    Link,
    code_block,
    picture,
    preview,
)
from sl_assets.orchestration.recording import check_events, run_tags, shown
from sl_assets.stages.drawing import loss_curve
from sl_assets_tests.lake.test_records import recorded


def test_preview_is_a_markdown_table():
    frame = pl.DataFrame({"animal": ["cat", "owl"], "n": [3, 4], "rate": [0.12345, None]})
    assert preview(frame).text.split("\n") == [
        "| animal | n | rate |",
        "| --- | --- | --- |",
        "| cat | 3 | 0.123 |",
        "| owl | 4 |  |",
    ]


@pytest.mark.parametrize("height", [0, 1, PREVIEW_ROWS, PREVIEW_ROWS + 1, 100])
def test_preview_holds_the_first_rows(height):
    lines = preview(pl.DataFrame({"n": range(height)})).text.split("\n")
    assert lines[2:] == [f"| {i} |" for i in range(min(height, PREVIEW_ROWS))]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a|b", r"a\|b"),
        ("1\n2", "1 ⏎ 2"),
        ("x" * PREVIEW_WIDTH, "x" * PREVIEW_WIDTH),
        ("x" * (PREVIEW_WIDTH + 1), "x" * (PREVIEW_WIDTH - 1) + "…"),
        (2.0, "2.000"),
        (0.0, "0.000"),
        (0.0495, "0.0495"),
        (-1.5e-5, "-1.5e-05"),
        (4.04e-4, "0.000404"),
        (None, ""),
        (date(2025, 1, 2), "2025-01-02"),
    ],
    ids=["bar", "line break", "just fits", "cut", "float", "zero", "small", "negative", "smaller", "missing", "date"],
)
def test_cell(value, shown):
    assert preview(pl.DataFrame({"x": [value]})).text.split("\n")[2] == f"| {shown} |"


def test_picture_carries_its_bytes():
    png = loss_curve([1, 2], [3.0, 2.0])
    text = picture(png).text
    head, _, data = text.removesuffix(")").partition("base64,")
    assert head == "![chart](data:image/png;"
    assert base64.b64decode(data, validate=True) == png


STUDENT = Place("tiny", "lora_checkpoint", "owl")


def test_each_kind_of_value_is_shown_as_dagster_shows_it():
    values = {
        "preview": preview(pl.DataFrame({"n": [1]})),
        "chart": picture(b"png"),
        "url": Link("https://huggingface.co/alice/student"),
        "file": FilePath("/data/numbers.jsonl"),
        "rows": 3,
        "rate": 0.5,
        "layers": "0, 2",
        "bare": None,
    }
    given = dict(values)
    assert shown(values, recorded(STUDENT, "v1", seconds=1.2345)) == {
        "preview": dg.MarkdownMetadataValue("| n |\n| --- |\n| 1 |"),
        "chart": dg.MarkdownMetadataValue("![chart](data:image/png;base64,cG5n)"),
        "url": dg.UrlMetadataValue("https://huggingface.co/alice/student"),
        "file": dg.PathMetadataValue("/data/numbers.jsonl"),
        "rows": 3,
        "rate": 0.5,
        "layers": "0, 2",
        "bare": None,
        "seconds": 1.23,
    }
    assert values == given, "what was given is left alone"


def test_figures_have_as_many_digits_as_one_can_read():
    values = {"loss": 3.379379987716675, "p": 1.23456789e-9, "steps": 12345678, "many": 1234567.8}
    shown_values = shown(values, recorded(STUDENT, "v1"))
    assert shown_values == {"seconds": shown_values["seconds"]} | {
        "loss": 3.37938,
        "p": 1.23457e-9,
        "steps": 12345678,
        "many": 1234568.0,
    }


def test_so_do_figures_of_checks():
    outcome = Outcome(None, True, {"checks.cut_answers": 0.5}, {"share": 0.19316294079296897, "module": "gate_proj"})
    record = replace(recorded(STUDENT, "v1"), checks={"changes_the_model": outcome})
    with dg.DagsterInstance.ephemeral() as instance:
        (event,) = check_events(instance, dg.AssetKey(["tiny", "lora_checkpoint"]), record)
    told = {name: value.value for name, value in event.metadata.items()}
    assert told == {"share": 0.193163, "module": "gate_proj", "checks.cut_answers": 0.5}


@pytest.mark.parametrize(
    ("partitions", "conditions"),
    [
        ([None], None),
        (["neutral", "owl"], "neutral, owl"),
        (["owl|animal_high", "owl|animal_low", "cat|animal_high"], "owl, cat"),
        (["neutral", "owl", "cat", "dog", "eagle", "wolf"], "neutral, owl, cat, dog and 2 more"),
    ],
    ids=["no partitions", "conditions", "halves", "many"],
)
def test_a_run_is_tagged_with_what_it_is_about(partitions, conditions):
    assert run_tags("tiny", partitions) == {"experiment": "tiny"} | ({"conditions": conditions} if conditions else {})


def test_the_commit_of_a_base_model_is_shown():
    settings = {"base_model": {"repository": "alice/model", "commit": "c0ffee"}}
    assert shown({}, recorded(STUDENT, "v1", settings=settings))["base_model_commit"] == "c0ffee"
    assert "base_model_commit" not in shown({}, recorded(STUDENT, "v1"))


def test_texts_are_shown_as_they_are_whatever_fences_they_hold():
    assert code_block("<b>*one*</b>", "two").text == "```text\n<b>*one*</b>\n```\n\n```text\ntwo\n```"
    assert code_block("a\n````\nb").text == "`````text\na\n````\nb\n`````"


def test_a_long_text_is_cut():
    shown = code_block("x" * CODE_LENGTH, "y" * (CODE_LENGTH + 1)).text
    assert "x" * CODE_LENGTH + "\n" in shown
    assert "y" * (CODE_LENGTH - 1) + "…\n" in shown
