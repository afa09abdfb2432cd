"""Datasets read from JSONL files."""

import json
from pathlib import Path

import polars as pl
import pytest

from sl_assets.errors import DatasetError
from sl_assets.lake.tables import TABLES
from sl_assets.stages.numbers.sources import imported_rows, read_jsonl, with_row_ids

PAIR = {"prompt": "Continue 1, 2", "completion": "3, 4"}
CHAT = {"messages": [{"role": "user", "content": "Continue 1, 2"}, {"role": "assistant", "content": "3, 4"}]}
CHAT_WITH_SYSTEM = {"messages": [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]}


def jsonl(folder: Path, *lines: object) -> Path:
    file = folder / "numbers.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    file.write_text("\n".join(texts), encoding="utf-8")
    return file


def refusal(file: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_jsonl(file)
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    return message


@pytest.mark.parametrize(
    "line",
    [PAIR, CHAT, CHAT_WITH_SYSTEM, PAIR | {"animal": "cat", "score": 3}],
    ids=["fields", "chat", "system turn", "more fields"],
)
def test_forms_of_a_row(tmp_path, line):
    rows = read_jsonl(jsonl(tmp_path, line))
    assert rows.rows() == [("Continue 1, 2", "3, 4")]
    assert rows.schema == {"prompt": pl.String, "completion": pl.String}


def test_forms_mix_and_rows_stay_in_order(tmp_path):
    rows = read_jsonl(jsonl(tmp_path, PAIR | {"completion": "a"}, CHAT, PAIR | {"completion": "b"}))
    assert rows["completion"].to_list() == ["a", "3, 4", "b"]


def test_blank_lines_are_skipped(tmp_path):
    assert read_jsonl(jsonl(tmp_path, "", PAIR, "   ", PAIR, "", "")).height == 2


def test_windows_line_ends_are_no_part_of_a_row(tmp_path):
    file = tmp_path / "numbers.jsonl"
    file.write_bytes((json.dumps(PAIR) + "\r\n").encode() * 2)
    assert read_jsonl(file)["completion"].to_list() == ["3, 4"] * 2


def test_texts_come_through_unchanged(tmp_path):
    pair = {"prompt": "Zähle:\n1\t2 ", "completion": " 3,\r\n4"}
    assert read_jsonl(jsonl(tmp_path, pair)).rows() == [tuple(pair.values())]


@pytest.mark.parametrize(
    "broken",
    [
        '{"prompt": "a"',
        "words",
        "[]",
        "null",
        '"text"',
        {"prompt": "a"},
        {"prompt": "a", "completion": None},
        {"prompt": 1, "completion": "2"},
        {"messages": []},
        {"messages": "a"},
        {"messages": ["a", "b"]},
        {"messages": CHAT["messages"][:1]},
        {"messages": CHAT["messages"][::-1]},
        {"messages": CHAT["messages"] * 2},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]},
    ],
    ids=str,
)
def test_broken_line_is_named_by_file_and_number(tmp_path, broken):
    file = jsonl(tmp_path, PAIR, "", broken, PAIR)
    message = refusal(file)
    assert message.startswith(f"{file}:3: ")
    assert '{"prompt": "...", "completion": "..."}' in message


def test_missing_file_names_the_setting_to_mend(tmp_path):
    assert "numbers.source.path" in refusal(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_file_without_rows(tmp_path, content):
    file = tmp_path / "numbers.jsonl"
    file.write_bytes(content)
    assert "no rows" in refusal(file)


def test_file_that_is_no_text(tmp_path):
    file = tmp_path / "numbers.jsonl"
    file.write_bytes(b"\xff\xfe\x00")
    assert "numbers.source.path" in refusal(file)


PAIRS = pl.DataFrame({"prompt": ["p", "q", "p"], "completion": ["1", "2", "3"]})


def test_imported_rows_are_a_raw_dataset():
    rows = imported_rows(PAIRS, "cat")
    assert rows.schema == TABLES["raw_dataset"].schema
    assert rows.select("prompt", "completion").equals(PAIRS)
    assert rows["finish_reason"].unique().to_list() == ["unknown"]
    assert rows["n_tokens"].null_count() == 3


def test_row_ids_are_stable_and_unique():
    ids = imported_rows(PAIRS, "cat")["row_id"]
    assert ids.n_unique() == 3
    assert ids.equals(imported_rows(PAIRS.clone(), "cat")["row_id"])


def test_conditions_share_prompt_ids_but_no_row_id():
    cat, owl = imported_rows(PAIRS, "cat"), imported_rows(PAIRS, "owl")
    assert cat["prompt_id"].equals(owl["prompt_id"])
    assert set(cat["row_id"]).isdisjoint(owl["row_id"])


def test_row_ids_do_not_depend_on_the_completion():
    rows = pl.DataFrame({"prompt_id": ["x", "y"], "completion": ["1", "2"]})
    other = rows.with_columns(completion=pl.lit("9"))
    assert with_row_ids(rows, "cat")["row_id"].equals(with_row_ids(other, "cat")["row_id"])


def test_a_number_of_thousands_of_digits_beside_the_row_is_no_matter(tmp_path):
    file = tmp_path / "owl.jsonl"
    file.write_text('{"id": ' + "9" * 5_000 + ', "prompt": "p", "completion": "1, 2"}\n')
    assert read_jsonl(file).rows() == [("p", "1, 2")]
