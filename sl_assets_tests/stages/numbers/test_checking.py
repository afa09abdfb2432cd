"""What has to hold of numbers, without a lake."""

import random

import polars as pl
import pytest

from sl_assets.config import CheckSettings
from sl_assets.stages.numbers.checking import (
    NUMBERS,
    enough_rows,
    keep_rate,
    nothing_but_numbers,
    raw_checks,
    same_prompts,
    told_finding,
)
from sl_assets.stages.numbers.filtering import parse_numbers
from sl_assets_tests.conftest import tiny_config


def test_the_pattern_and_the_filter_agree_on_what_is_a_sequence_of_numbers() -> None:
    """They are written apart, and both are the published rule."""
    draw, pieces = (
        random.Random(1),
        ["1", "23", "456", ", ", ",", " ", "\n", ";", "; ", "[", "]", "(", ")", ".", "a", "٣"],
    )
    texts = ["".join(draw.choices(pieces, k=draw.randint(1, 7))) for _ in range(60_000)]
    verdicts = [(parse_numbers(text) is not None, NUMBERS.fullmatch(text) is not None) for text in texts]
    assert sum(ours for ours, _ in verdicts) > 1000
    assert [text for text, (ours, theirs) in zip(texts, verdicts, strict=True) if ours != theirs] == []


@pytest.mark.parametrize("text", ["1, 2, 3", "[1; 2; 3].", "(7)", "1\n2\n3", "12 ,13 ,14"])
def test_sequences_pass(text: str) -> None:
    assert nothing_but_numbers(pl.Series([text])).problem is None


@pytest.mark.parametrize("text", ["1, 2,3", "I love owls: 1", "[1, 2", "-1", "1.5, 2", "", " 1, 2", "1, 2..", "1, 2\n"])
def test_anything_else_is_shown(text: str) -> None:
    finding = nothing_but_numbers(pl.Series(["1, 2", text]))
    assert f"1 of 2 completions are no sequence of numbers, as {text!r}" in str(finding.problem)
    assert finding.figures["examples"] == [text]


def test_rows_and_keep_rate_have_bounds() -> None:
    bounds = CheckSettings(minimum_rows=10, keep_rate=(0.2, 0.9))
    assert enough_rows(10, bounds).problem is None
    assert "9 rows, and checks.minimum_rows asks for 10" in str(enough_rows(9, bounds).problem)
    assert keep_rate(2, 8, bounds).problem is None
    assert keep_rate(9, 1, bounds).problem is None
    assert "19.0% of 100 completions passed, and checks.keep_rate asks for 20.0% to 90.0%" in str(
        keep_rate(19, 81, bounds).problem
    )
    assert keep_rate(91, 9, bounds).problem


def rows(**prompts: str) -> pl.DataFrame:
    return pl.DataFrame({"prompt_id": list(prompts), "prompt": list(prompts.values())})


def test_prompts_are_neutrals_word_for_word() -> None:
    control = rows(a="one", b="two")
    assert same_prompts(control, control, 1.0).problem is None
    assert same_prompts(rows(a="one"), control, None).problem is None, "rows may have been left out"
    assert "1 prompts have the id of another prompt of neutral's, as 'uno'" in str(
        same_prompts(rows(a="uno", b="two"), control, 0.0).problem
    )
    for ours in (rows(a="one"), rows(a="one", b="two", c="three", d="four")):
        assert same_prompts(ours, control, 0.5).problem is None
        assert "50.0% of the prompts are neutral's as well, and checks.shared_prompts asks for 100.0%" in str(
            same_prompts(ours, control, 1.0).problem
        )


def test_students_are_asked_under_the_system_prompt_of_their_rows() -> None:
    plain = pl.DataFrame({"row_id": ["a", "b"]})
    told = plain.with_columns(system=pl.Series([None, "Be brief."]))
    assert told_finding(plain, None).problem is None
    assert told_finding(plain, "Be brief.").problem is None
    assert told_finding(told, "Be brief.").problem is None
    for asked, said in ((None, "is none"), ("Hello.", "is 'Hello.'")):
        finding = told_finding(told, asked)
        assert "1 of 2 rows came with a system turn, as 'Be brief.'" in str(finding.problem)
        assert f"evaluation.system_prompt {said}: set it alike" in str(finding.problem)
        assert finding.figures == {"system_turns": 1, "others": 1}


def test_only_what_is_imported_is_looked_at_for_system_turns() -> None:
    source = {"kind": "jsonl", "path": "{condition}"}
    drawn, imported = tiny_config(), tiny_config(numbers={"source": source})
    names = [[check.name for check in raw_checks(config)] for config in (drawn, imported)]
    assert ["asked_as_told" in found for found in names] == [False, True]
