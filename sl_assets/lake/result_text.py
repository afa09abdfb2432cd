"""Results of SQL as text, a batch at a time: whatever their size, they take the memory of one batch."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from sl_assets.lake.session import Result

TYPES = {
    "boolean": pl.Boolean(), "tinyint": pl.Int64(), "smallint": pl.Int64(), "integer": pl.Int64(),
    "bigint": pl.Int64(), "float": pl.Float32(), "double": pl.Float64(), "varchar": pl.String(),
}  # fmt: skip
"""What polars makes of DuckDB's types; of all others, `text_of` makes text."""


def text_of(value: Any) -> str:
    """``value`` as text: lists, structs and maps as JSON, bytes as hexadecimal digits."""
    if isinstance(value, list | tuple | dict):
        from pydantic_core import to_json

        return to_json(value, inf_nan_mode="constants", bytes_mode="hex", fallback=str).decode()
    return value.hex() if isinstance(value, bytes) else str(value)


def frame_of(result: "Result", rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """``rows`` of ``result``; columns of numbers and truth values are such, all others text."""
    columns = list(zip(*rows, strict=True)) or [()] * len(result.columns)
    return pl.DataFrame(
        [
            pl.Series(name, column, dtype)
            if (dtype := TYPES.get(kind))
            else pl.Series(name, [None if value is None else text_of(value) for value in column], pl.String())
            for name, kind, column in zip(result.columns, result.kinds, columns, strict=True)
        ]
    )


def csv_of(result: "Result") -> Iterator[str]:
    """``result`` as comma-separated values, in pieces; a text of no letters is quoted, and what is missing is not."""
    yield frame_of(result, []).write_csv()
    for rows in result.batches:
        yield frame_of(result, rows).write_csv(include_header=False)


def json_of(result: "Result") -> Iterator[str]:
    """``result`` as a JSON list of objects, a row each, in pieces.

    Lists, structs and maps are such, too. Numbers that are none, infinite ones and what is missing are null; decimals
    and times are text, and bytes hexadecimal digits.
    """
    from pydantic_core import to_json

    between = "[\n"
    for rows in result.batches:
        objects = (
            to_json(
                dict(zip(result.columns, row, strict=True)), inf_nan_mode="null", bytes_mode="hex", fallback=str
            ).decode()
            for row in rows
        )
        yield between + ",\n".join(objects)
        between = ",\n"
    yield "[]\n" if between == "[\n" else "\n]\n"


def beginning_of(result: "Result", most: int) -> tuple[pl.DataFrame, Iterator[int]]:
    """The first rows of ``result``, at most ``most``, and the lengths of batches of all that follow."""
    rows: list[tuple[Any, ...]] = []
    for batch in result.batches:
        rows += batch
        if len(rows) > most:
            break
    return frame_of(result, rows[:most]), chain([max(0, len(rows) - most)], map(len, result.batches))
