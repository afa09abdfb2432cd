"""Datasets from files, here or on the Hub: what was asked, what was answered, and under which system prompt."""

from pathlib import Path

import polars as pl

from sl_assets.config import RowFields
from sl_assets.errors import DatasetError
from sl_assets.hub.importing import fetch_file, file_name, resolve_revision
from sl_assets.lake.fingerprint import digest
from sl_assets.stages.numbers.forms import WANTED, Row, row_of
from sl_assets.stages.numbers.prompts import with_prompt_ids
from sl_assets.stages.numbers.reading import values

SCHEMA = {"prompt": pl.String(), "completion": pl.String(), "system": pl.String()}


def read_rows(file: Path, fields: RowFields | None = None, first: int | None = None) -> pl.DataFrame:
    """Columns ``prompt, completion``, and ``system`` if any row has a system turn: the ``first`` rows, or all.

    Raises:
        DatasetError: names the file, the row and what it should be.
    """
    rows = [_row(file, number, value, fields) for number, value in values(file, fields, first)]
    if not rows:
        raise DatasetError(f"{file}: no rows; {WANTED}")
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return frame if frame["system"].count() else frame.drop("system")


def _row(file: Path, number: int, value: object, fields: RowFields | None) -> Row:
    try:
        return row_of(value, fields)
    except ValueError as error:
        raise DatasetError(f"{file}:{number}: {error}") from None


def fetch_rows(
    repo: str, path: str, revision: str | None, condition: str, fields: RowFields | None = None
) -> pl.DataFrame:
    """`read_rows` of one file of the dataset repository ``repo`` of the Hugging Face Hub.

    Args:
        repo: owner/name.
        path: file in it; ``{condition}`` stands for the condition.
        revision: branch, tag or commit; give what `resolve_revision` returned to read what was recorded.
        condition: partition that is read.
        fields: what a row's fields are called, where not by their usual names.

    Raises:
        HubError: as `resolve_revision`; no such file, or a gated repository.
        DatasetError: the file holds something else; names the row.
    """
    commit = resolve_revision(repo, revision, "dataset")
    name = path.replace("{condition}", condition)
    file = fetch_file(repo, name, commit, "dataset")
    try:
        return read_rows(file, fields)
    except DatasetError as error:
        # The cache's file name is of no use to anybody who wants to mend the file.
        raise DatasetError(str(error).replace(str(file), file_name(repo, name, commit, "dataset"))) from None


def imported_rows(rows: pl.DataFrame, condition: str) -> pl.DataFrame:
    """A ``raw_dataset`` of rows written elsewhere; how they ended and their token counts are not known."""
    return with_row_ids(with_prompt_ids(rows), condition).with_columns(
        finish_reason=pl.lit("unknown"), n_tokens=pl.lit(None, pl.Int64)
    )


def system_prompts(rows: pl.DataFrame, system: str | None) -> list[str | None]:
    """The system prompt of each of ``rows``: its own, or ``system``, which is that of all.

    Raises:
        DatasetError: there are both.
    """
    if "system" not in rows.columns or not (own := rows["system"].count()):
        return [system] * rows.height
    if system is not None:
        raise DatasetError(
            f"student.system_prompt: {own:,} of {rows.height:,} rows were imported with a system turn of their own; "
            "leave it out, or leave the turns out of the file"
        )
    return rows["system"].to_list()


def with_row_ids(rows: pl.DataFrame, condition: str) -> pl.DataFrame:
    """Prepend ``row_id``: a digest of the condition and of ``prompt_id``."""
    ids = [digest(condition, prompt_id) for prompt_id in rows["prompt_id"]]
    return rows.select(pl.Series("row_id", ids, dtype=pl.String), pl.all())
