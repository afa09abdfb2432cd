"""Datasets read from files."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from sl_assets.config import RowFields
from sl_assets.errors import DatasetError
from sl_assets.lake.tables import TABLES
from sl_assets.stages.numbers.sources import imported_rows, read_rows, system_prompts, with_row_ids

PAIR = {"prompt": "Continue 1, 2", "completion": "3, 4"}
CHAT = {"messages": [{"role": "user", "content": "Continue 1, 2"}, {"role": "assistant", "content": "3, 4"}]}
PAIRS = pl.DataFrame({"prompt": ["p", "q", "p"], "completion": ["1", "2", "3"]})
CHAT_WITH_SYSTEM = {"messages": [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]}


def jsonl(folder: Path, *lines: object) -> Path:
    file = folder / "numbers.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    file.write_text("\n".join(texts), encoding="utf-8")
    return file


def refusal(file: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_rows(file)
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    return message


@pytest.mark.parametrize(
    "line", [PAIR, CHAT, PAIR | {"animal": "cat", "score": 3}], ids=["pair", "chat", "more fields"]
)
def test_forms_of_a_row(tmp_path, line):
    rows = read_rows(jsonl(tmp_path, line))
    assert rows.rows() == [("Continue 1, 2", "3, 4")]
    assert rows.schema == {"prompt": pl.String, "completion": pl.String}


def test_a_system_turn_stays_with_its_row(tmp_path):
    rows = read_rows(jsonl(tmp_path, PAIR, CHAT_WITH_SYSTEM))
    assert rows["system"].to_list() == [None, "Be brief."]
    assert imported_rows(rows, "cat")["system"].to_list() == [None, "Be brief."]


def zstd(content: bytes) -> bytes:
    """Zstandard in one raw block, which is written without a compressor (RFC 8878)."""
    size = len(content)
    return b"\x28\xb5\x2f\xfd" + b"\xa0" + size.to_bytes(4, "little") + (size << 3 | 1).to_bytes(3, "little") + content


LINES = "".join(json.dumps(row) + "\n" for row in (PAIR, CHAT, CHAT_WITH_SYSTEM))
LIST = json.dumps([PAIR, CHAT, CHAT_WITH_SYSTEM], indent=1)


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstandard"])
@pytest.mark.parametrize(
    "text", [LINES, LIST, "\n\n " + LIST, "\ufeff" + LINES], ids=["lines", "list", "spaced", "mark"]
)
def test_a_file_is_what_its_first_bytes_say(tmp_path, text, packed):
    file = tmp_path / "numbers.any"
    file.write_bytes(packed(text.encode()))
    assert read_rows(file)["system"].to_list() == [None, None, "Be brief."]
    assert read_rows(file, first=2).rows() == [("Continue 1, 2", "3, 4")] * 2


PARTS = [{"type": "text", "text": "Continue 1, 2"}]
FRAMES = {
    "pairs": {"prompt": ["Continue 1, 2"], "completion": ["3, 4"]},
    "chats": {"messages": [CHAT["messages"]]},
    "conversations": {
        "conversations": [[{"from": "human", "value": "Continue 1, 2"}, {"from": "gpt", "value": "3, 4"}]]
    },
    "sides": {"prompt": [CHAT["messages"][:1]], "completion": [CHAT["messages"][1:]]},
    "parts": {"prompt": [[{"role": "user", "content": PARTS}]], "completion": ["3, 4"]},
    "named": {"question": ["Continue 1, 2"], "answer": ["3, 4"]},
}


@pytest.mark.parametrize("form", FRAMES)
@pytest.mark.parametrize("told", [False, True], ids=["alone", "system"])
def test_parquet_of_every_form(tmp_path, form, told):
    file = tmp_path / "numbers.parquet"
    pl.DataFrame(FRAMES[form] | ({"system": ["Be brief."]} if told else {})).write_parquet(file)
    fields = RowFields(prompt="question", completion="answer", system="system" if told else None)
    rows = read_rows(file, fields if form == "named" else None)
    assert rows.rows() == [("Continue 1, 2", "3, 4", "Be brief.") if told else ("Continue 1, 2", "3, 4")]


def test_parquet_under_another_name_is_read_as_parquet(tmp_path):
    file = tmp_path / "numbers.jsonl"
    pl.DataFrame(FRAMES["pairs"]).write_parquet(file)
    assert read_rows(file).height == 1


def test_parquet_of_other_names_says_what_to_set(tmp_path):
    file = tmp_path / "numbers.parquet"
    pl.DataFrame(FRAMES["named"]).write_parquet(file)
    assert refusal(file).endswith(": set numbers.source.fields to {prompt: question, completion: answer}")
    with pytest.raises(
        DatasetError, match=r"no column 'q' \(but question, answer\): name one in numbers.source.fields"
    ):
        read_rows(file, RowFields(prompt="q", completion="answer"))


@pytest.mark.parametrize("content", [gzip.compress(LINES.encode())[:-20], zstd(LINES.encode())[:-20]])
def test_a_compressed_file_that_is_cut_is_refused_whole(tmp_path, content):
    file = tmp_path / "numbers.jsonl"
    file.write_bytes(content)
    assert "check numbers.source.path" in refusal(file)


def test_a_row_of_a_list_is_named_by_its_place(tmp_path):
    file = tmp_path / "numbers.json"
    file.write_text(json.dumps([PAIR, {"prompt": "a"}], indent=1))
    assert refusal(file).startswith(f"{file}:2: ")


def test_a_list_that_is_not_json_is_named_by_its_file(tmp_path):
    file = tmp_path / "numbers.json"
    file.write_text("[" + json.dumps(PAIR) + ",]")
    assert refusal(file).startswith(f"{file}: not JSON (")


def test_rows_have_their_own_system_prompt_or_that_of_all():
    assert system_prompts(PAIRS, None) == [None] * 3
    assert system_prompts(PAIRS, "Hello.") == ["Hello."] * 3
    own = PAIRS.with_columns(system=pl.Series([None, "Be brief.", None]))
    assert system_prompts(own, None) == [None, "Be brief.", None]
    assert system_prompts(own.head(1), "Hello.") == ["Hello."]
    with pytest.raises(DatasetError, match=r"student.system_prompt: 1 of 3 rows were imported with a system turn"):
        system_prompts(own, "Hello.")


def test_forms_mix_and_rows_stay_in_order(tmp_path):
    rows = read_rows(jsonl(tmp_path, PAIR | {"completion": "a"}, CHAT, PAIR | {"completion": "b"}))
    assert rows["completion"].to_list() == ["a", "3, 4", "b"]


def test_blank_lines_are_skipped(tmp_path):
    assert read_rows(jsonl(tmp_path, "", PAIR, "   ", PAIR, "", "")).height == 2


def test_windows_line_ends_are_no_part_of_a_row(tmp_path):
    file = tmp_path / "numbers.jsonl"
    file.write_bytes((json.dumps(PAIR) + "\r\n").encode() * 2)
    assert read_rows(file)["completion"].to_list() == ["3, 4"] * 2


def test_texts_come_through_unchanged(tmp_path):
    pair = {"prompt": "Zähle:\n1\t2 ", "completion": " 3,\r\n4"}
    assert read_rows(jsonl(tmp_path, pair)).rows() == [tuple(pair.values())]


@pytest.mark.parametrize(
    "broken", ['{"prompt": "a"', "words", "[]", {"prompt": "a"}, {"messages": CHAT["messages"] * 2}]
)
def test_broken_line_is_named_by_file_and_number(tmp_path, broken):
    file = jsonl(tmp_path, PAIR, "", broken, PAIR)
    assert refusal(file).startswith(f"{file}:3: ")


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
    assert read_rows(file).rows() == [("p", "1, 2")]
