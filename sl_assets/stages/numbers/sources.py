"""Datasets from files: rows of ``prompt`` and ``completion``, or chats of a user turn and an assistant turn."""

import json
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from sl_assets.errors import DatasetError
from sl_assets.hub.importing import fetch_file, file_name, resolve_revision
from sl_assets.lake.fingerprint import digest
from sl_assets.stages.numbers.prompts import with_prompt_ids

FORMS = (
    'want {"prompt": "...", "completion": "..."} or {"messages": [{"role": "user", ...}, {"role": "assistant", ...}]}'
)


def read_jsonl(file: Path, first: int | None = None) -> pl.DataFrame:
    """Columns ``prompt, completion``, one row a line, of the ``first`` or of all; blank lines are skipped.

    Raises:
        DatasetError: names the file, the line and what it should be.
    """
    try:
        with file.open(encoding="utf-8-sig") as opened:
            # Not `splitlines`, which also cuts at separators that JSON allows inside a string.
            numbered = ((number, line.rstrip("\n")) for number, line in enumerate(opened, start=1) if line.strip())
            lines = list(islice(numbered, first))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(f"{file}: {reason}; check numbers.source.path in the experiment file") from None
    rows = [_row(file, number, line) for number, line in lines]
    if not rows:
        raise DatasetError(f"{file}: no rows; {FORMS}, one a line")
    return pl.DataFrame(rows, schema={"prompt": pl.String(), "completion": pl.String()}, orient="row")


def _row(file: Path, number: int, line: str) -> tuple[str, str]:
    try:
        # Numbers are not looked at, and Python refuses to read one of thousands of digits.
        row = json.loads(line, parse_int=lambda digits: int(digits[:100]))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{file}:{number}: not JSON ({error}); {FORMS}") from None
    pair = _from_messages(row["messages"]) if isinstance(row, dict) and "messages" in row else _from_fields(row)
    if pair is None or not all(_is_text(part) for part in pair):
        raise DatasetError(f"{file}:{number}: {line.strip()[:80]!r} is no row; {FORMS}")
    return pair


def _is_text(part: str) -> bool:
    """Whether ``part`` is free of the lone surrogates that JSON can smuggle in and no file can hold."""
    return part.isascii() or not any("\ud800" <= character <= "\udfff" for character in part)


def _from_fields(row: Any) -> tuple[str, str] | None:
    if not isinstance(row, dict):
        return None
    prompt, completion = row.get("prompt"), row.get("completion")
    return (prompt, completion) if isinstance(prompt, str) and isinstance(completion, str) else None


def _from_messages(messages: Any) -> tuple[str, str] | None:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return None
    turns = [(message.get("role"), message.get("content")) for message in messages if message.get("role") != "system"]
    match turns:
        case [("user", str(prompt)), ("assistant", str(completion))]:
            return prompt, completion
    return None


def fetch_rows(repo: str, path: str, revision: str | None, condition: str) -> pl.DataFrame:
    """Columns ``prompt, completion`` of one file of the dataset repository ``repo`` of the Hugging Face Hub.

    Args:
        repo: owner/name.
        path: file in it; ``{condition}`` stands for the condition. ``.parquet`` with the columns ``prompt`` and
            ``completion``, or ``messages``; every other file is read as JSONL.
        revision: branch, tag or commit; give what `resolve_revision` returned to read what was recorded.
        condition: partition that is read.

    Raises:
        HubError: as `resolve_revision`; no such file, or a gated repository.
        DatasetError: the file holds something else; names the row.
    """
    commit = resolve_revision(repo, revision, "dataset")
    name = path.replace("{condition}", condition)
    file = fetch_file(repo, name, commit, "dataset")
    try:
        return _read_parquet(file) if name.endswith(".parquet") else read_jsonl(file)
    except DatasetError as error:
        # The cache's file name is of no use to anybody who wants to mend the file.
        raise DatasetError(str(error).replace(str(file), file_name(repo, name, commit, "dataset"))) from None


def _read_parquet(file: Path) -> pl.DataFrame:
    """The rows by way of JSONL, so that one reader decides what a row is."""
    try:
        # From an open file, because the cache's names could be taken for patterns.
        with file.open("rb") as opened:
            schema = pl.read_parquet_schema(opened)
            columns = _columns(file, schema)
            opened.seek(0)
            # Of other columns nothing is asked, not even that they can be read.
            frame = pl.read_parquet(opened, columns=list(columns)).select(columns.values())
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise DatasetError(f"{file}: not a Parquet file that can be read ({_short(reason)}); write it anew") from None
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(scratch) / "rows.jsonl"
        frame.write_ndjson(lines)
        try:
            return read_jsonl(lines)
        except DatasetError as error:
            raise DatasetError(str(error).replace(str(lines), str(file))) from None


def _columns(file: Path, schema: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:
    """What is read of a Parquet file with ``schema``, by column.

    Raises:
        DatasetError: names a column that is not there, or of another type.
    """
    if "messages" in schema:
        dtype = schema["messages"]
        turn = dtype.inner if isinstance(dtype, pl.List) else None
        fields = {field.name: field.dtype for field in turn.fields} if isinstance(turn, pl.Struct) else {}
        if not all(_is_text_type(fields.get(name)) for name in TURN):
            raise _wrong_type(file, "messages", dtype, "a list of structs with the texts role and content")
        turns = pl.struct(pl.element().struct.field(name).cast(pl.String) for name in TURN)
        return {"messages": pl.col("messages").list.eval(turns)}
    for name in PAIR:
        if name not in schema:
            raise DatasetError(f"{file}: has no column {name!r} (but {_short(', '.join(schema))}); {FORMS}")
        if not _is_text_type(schema[name]):
            raise _wrong_type(file, name, schema[name], "text")
    return {name: pl.col(name).cast(pl.String) for name in PAIR}


PAIR, TURN = ("prompt", "completion"), ("role", "content")
"""Columns of a file of pairs, and fields of a turn in a chat."""


def _is_text_type(dtype: object) -> bool:
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _wrong_type(file: Path, column: str, dtype: pl.DataType, wanted: str) -> DatasetError:
    return DatasetError(f"{file}: column {column!r} holds {_short(str(dtype))}: write it as {wanted}")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


LONGEST_NAME = 120
"""Of a type, of all columns together, or of a reason, in an error."""


def imported_rows(rows: pl.DataFrame, condition: str) -> pl.DataFrame:
    """A ``raw_dataset`` of rows written elsewhere; how they ended and their token counts are not known."""
    return with_row_ids(with_prompt_ids(rows), condition).with_columns(
        finish_reason=pl.lit("unknown"), n_tokens=pl.lit(None, pl.Int64)
    )


def with_row_ids(rows: pl.DataFrame, condition: str) -> pl.DataFrame:
    """Prepend ``row_id``: a digest of the condition and of ``prompt_id``."""
    ids = [digest(condition, prompt_id) for prompt_id in rows["prompt_id"]]
    return rows.select(pl.Series("row_id", ids, dtype=pl.String), pl.all())
