"""Datasets from files: rows of ``prompt`` and ``completion``, or chats of a user turn and an assistant turn."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from sl_assets.errors import DatasetError
from sl_assets.lake.fingerprint import digest
from sl_assets.stages.numbers.prompts import with_prompt_ids

FORMS = (
    'want {"prompt": "...", "completion": "..."} or {"messages": [{"role": "user", ...}, {"role": "assistant", ...}]}'
)


def read_jsonl(file: Path) -> pl.DataFrame:
    """Columns ``prompt, completion``, one row a line; blank lines are skipped.

    Raises:
        DatasetError: names the file, the line and what it should be.
    """
    try:
        # Not `splitlines`, which also cuts at separators that JSON allows inside a string.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(f"{file}: {reason}; check numbers.source.path in the experiment file") from None
    rows = [_row(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise DatasetError(f"{file}: no rows; {FORMS}, one a line")
    return pl.DataFrame(rows, schema={"prompt": pl.String(), "completion": pl.String()}, orient="row")


def _row(file: Path, number: int, line: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
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


def imported_rows(rows: pl.DataFrame, condition: str) -> pl.DataFrame:
    """A ``raw_dataset`` of rows written elsewhere; how they ended and their token counts are not known."""
    return with_row_ids(with_prompt_ids(rows), condition).with_columns(
        finish_reason=pl.lit("unknown"), n_tokens=pl.lit(None, pl.Int64)
    )


def with_row_ids(rows: pl.DataFrame, condition: str) -> pl.DataFrame:
    """Prepend ``row_id``: a digest of the condition and of ``prompt_id``."""
    ids = [digest(condition, prompt_id) for prompt_id in rows["prompt_id"]]
    return rows.select(pl.Series("row_id", ids, dtype=pl.String), pl.all())
