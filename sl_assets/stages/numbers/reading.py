"""Files of rows written elsewhere, as parsed values: JSON lines, a JSON list, or Parquet; plain, gzip or Zstandard.

What a file is, its first bytes say, not its name; but a name that ends in ``.parquet`` asks for Parquet.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import polars as pl
from polars.datatypes import DataTypeClass

from sl_assets.config import RowFields
from sl_assets.errors import DatasetError
from sl_assets.stages.numbers.forms import CHATS, CONTENT, ROLE, advice

GZIP, ZSTANDARD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
"""First bytes of files."""

MARK = "\ufeff"
"""Byte order mark, which some programs write before the first line."""

PAIR = ("prompt", "completion")

LONGEST_NAME = 120
"""Characters of a type, of all columns together, or of a reason, in an error."""


def values(file: Path, fields: RowFields | None, first: int | None) -> Iterator[tuple[int, Any]]:
    """What ``file`` holds, each value with its line, or with its place from 1 where lines mean nothing.

    Args:
        file: of any of the forms.
        fields: what is read of a Parquet file, where not by the usual names.
        first: how many at most; None for all.

    Raises:
        DatasetError: it cannot be read; names the file, what is wrong and the fix.
    """
    try:
        begins = _first_bytes(file)
        if file.suffix == ".parquet" or begins.startswith(PARQUET):
            yield from enumerate(_parquet(file, fields, first), start=1)
        elif begins.startswith(ZSTANDARD):
            # Lines end at line feeds alone, as in files that are opened here.
            yield from _parsed(file, iter(pl.read_lines(file.read_bytes())["line"]), first)
        else:
            with _opened(file, begins) as lines:
                yield from _parsed(file, lines, first)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, pl.exceptions.PolarsError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["unreadable"])[0]
        raise DatasetError(f"{file}: {short(reason)}; check numbers.source.path in the experiment file") from None


def _first_bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(4)


def _opened(file: Path, begins: bytes) -> IO[str]:
    if begins.startswith(GZIP):
        return gzip.open(file, "rt", encoding="utf-8", newline="\n")
    return file.open(encoding="utf-8", newline="\n")


def _parsed(file: Path, lines: Iterator[str], first: int | None) -> Iterator[tuple[int, Any]]:
    """JSON values of ``lines``: one a line, or those of the one list that they make up."""
    written = _written(lines)
    begin = next(written, None)
    if begin is None:
        return
    if begin[1].lstrip().startswith("["):
        text = "\n".join(line for _, line in chain([begin], written))
        yield from islice(enumerate(_json(str(file), text), start=1), first)
        return
    for number, line in islice(chain([begin], written), first):
        yield number, _json(f"{file}:{number}", line)


def _written(lines: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers, without their ends and without a byte order mark."""
    # Not `splitlines`, which also cuts at separators that JSON allows inside a string.
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if text.removeprefix(MARK).strip():
            yield number, text.removeprefix(MARK) if number == 1 else text


def _json(place: str, text: str) -> Any:
    try:
        # Numbers are not looked at, and Python refuses to read one of thousands of digits.
        return json.loads(text, parse_int=lambda digits: int(digits[:100]))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{place}: not JSON ({error}); write one object a line, or one list of objects") from None


def _parquet(file: Path, fields: RowFields | None, first: int | None) -> Iterator[Any]:
    try:
        # From an open file, because names of files could be taken for patterns.
        with file.open("rb") as opened:
            columns = _columns(file, pl.read_parquet_schema(opened), fields)
            opened.seek(0)
            # Of other columns nothing is asked, not even that they can be read.
            frame = pl.read_parquet(opened, columns=list(columns), n_rows=first).select(columns.values())
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise DatasetError(f"{file}: not a Parquet file that can be read ({short(reason)}); write it anew") from None
    return frame.iter_rows(named=True)


def _columns(file: Path, schema: Mapping[str, pl.DataType], fields: RowFields | None) -> dict[str, pl.Expr]:
    """What is read of a Parquet file with ``schema``, by column.

    Raises:
        DatasetError: names a column that is not there, or of another type.
    """
    if fields:
        names = [name for name in (fields.prompt, fields.completion, fields.system) if name]
    else:
        chats = [name for name in CHATS if name in schema][:1]
        names = [*(chats or PAIR), *(["system"] if "system" in schema else [])]
    if missing := [name for name in names if name not in schema]:
        fix = ": name one in numbers.source.fields" if fields else advice(schema, missing)
        raise DatasetError(f"{file}: has no column {missing[0]!r} (but {short(', '.join(schema))}){fix}")
    return {name: _text_alone(file, name, schema[name]) for name in names}


TEXT = "text"
TURNS = "a list of structs with the texts role and content"


def _text_alone(file: Path, name: str, dtype: pl.DataType) -> pl.Expr:
    """The column ``name`` with nothing but the text in it: of a turn, who speaks and what is said."""
    wanted = TURNS if name in CHATS else TEXT
    found = _readable(pl.col(name), dtype) if name not in CHATS or isinstance(dtype, pl.List | pl.Array) else None
    if found is None:
        raise DatasetError(f"{file}: column {name!r} holds {short(str(dtype))}: write it as {wanted}")
    return found.alias(name)


def _readable(column: pl.Expr, dtype: pl.DataType | DataTypeClass) -> pl.Expr | None:
    """``column`` as texts, or lists of turns or of parts; None where ``dtype`` holds something else."""
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if not isinstance(dtype, pl.List | pl.Array) or not isinstance(dtype.inner, pl.Struct):
        return None
    fields = {field.name: field.dtype for field in dtype.inner.fields}
    known = {name: fields[name] for name in (*ROLE, *CONTENT, "type", "text") if name in fields}
    parts = {name: _readable(pl.element().struct.field(name), kind) for name, kind in known.items()}
    if not (_has(parts, ROLE) and _has(parts, CONTENT)) and not _has(parts, ("text",)):
        return None
    read = pl.struct(part.alias(name) for name, part in parts.items() if part is not None)
    as_list = column.arr.to_list() if isinstance(dtype, pl.Array) else column
    return as_list.list.eval(read)


def _has(parts: Mapping[str, pl.Expr | None], names: tuple[str, ...]) -> bool:
    return any(parts.get(name) is not None for name in names)


def short(text: str) -> str:
    """``text``, not longer than a line has room for."""
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."
