"""An experiment's tables in one file, for a paper's appendix or another machine: a DuckDB database, or a zip of CSV.

The file needs no lake. If a run changes the experiment while it is read, nothing is written. Of a lake that stays as it
is the files of CSV are always the same.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from sl_assets.errors import LakeError
from sl_assets.lake.catalogue import CATALOGUE, Columns, comments, quoted
from sl_assets.lake.lake import Lake
from sl_assets.lake.result_text import csv_of
from sl_assets.lake.session import Session, session
from sl_assets.lake.tables import REAL, TEXT

README = {
    "what": (TEXT, "table, setting, version or state"),
    "name": (TEXT, "of the table, setting, or whatever has the version or the state"),
    "value": (TEXT, "rows of a table; a setting as JSON; a version; partitions in a state"),
    "meaning": (TEXT, "what a row of the table is, or what is told"),
}
"""Columns of the table ``readme``: type and meaning."""

STATUS = {
    "experiment": (TEXT, "experiment that makes the partition"),
    "asset": (TEXT, "asset that makes it"),
    "partition": (TEXT, "its partition; null where it has none"),
    "state": (TEXT, "fresh, missing, stale or failed, when the file was made"),
    "why": (TEXT, "why it is stale or failed"),
    "seconds": (REAL, "how long it may take to make; null where it is not due, and where nothing tells"),
}
"""Columns of the table ``status``."""

COLUMNS = {
    "table": (TEXT, "the table"),
    "column": (TEXT, "one of its columns"),
    "meaning": (TEXT, "what it means"),
}
"""Columns of the table ``columns``, which a zip has because CSV has no comments."""

OF_ITSELF = {
    "readme": "what is in this file, of which settings and versions, and how it stood when it was written",
    "status": "a partition, and how it stood when this file was written",
    "columns": "a column of a table, and what it means",
}
"""What rows of these tables are."""

DUCKDB, ZIP = SUFFIXES = (".duckdb", ".zip")

FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""That a zip can tell; its members have no other time."""


def exported_views(with_rows: bool) -> list[str]:
    """Names of the views that are exported; those with a row for every row of a dataset only ``with_rows``."""
    return [name for name, view in CATALOGUE.items() if with_rows or not view.of_rows]


def export(
    lake: Lake,
    experiments: Sequence[str],
    said: pl.DataFrame,
    status: pl.DataFrame,
    file: Path,
    as_csv: bool,
    with_rows: bool = False,
) -> dict[str, int]:
    """Write the tables of ``experiments`` to ``file``, a database or ``as_csv``; returns their numbers of rows by name.

    ``said``: what the readme says beside tables and versions; ``status``: how partitions stand. Their columns are those
    of `README` and of `STATUS`. What is left of a file that could not be finished is the caller's to remove.

    Raises:
        LakeError: nothing of these experiments is there; or a run changed something meanwhile.
        duckdb.Error: as DuckDB says.
    """
    names = exported_views(with_rows)
    with TemporaryDirectory() as scratch, session(lake) as opened:
        database = Path(scratch) / "tables.duckdb" if as_csv else file
        # Most tables are small, and each takes whole blocks.
        _run(opened, f"ATTACH {quoted(str(database))} AS exported (BLOCK_SIZE 16384)")
        counts = _take(opened, names, experiments)
        if not counts["lineage"]:
            raise LakeError(f"nothing of {', '.join(experiments)} is in {lake.root}: run it first")
        tables = [("table", name, f"{count}", CATALOGUE[name].row) for name, count in counts.items()]
        told = [*tables, *said.rows(), *_versions(opened)]
        _put(opened, "readme", README, told)
        _put(opened, "status", STATUS, status.rows())
        _run(opened, comments("TABLE", names, "exported"))
        if as_csv:
            columns = [(name, *column) for name in names for column in CATALOGUE[name].columns.items()]
            _put(opened, "columns", COLUMNS, columns)
            _write_zip(opened, ["readme", "columns", "status", *names], file)
        _run(opened, "DETACH exported")
    return counts


def _take(opened: Session, names: Sequence[str], experiments: Sequence[str]) -> dict[str, int]:
    """Copy the views ``names`` to tables, and count their rows.

    Raises:
        LakeError: a run changed something meanwhile.
    """
    chosen = f"experiment IN ({', '.join(map(quoted, experiments))})"
    versions = f"SELECT experiment, asset, partition, data_version FROM lineage WHERE {chosen} ORDER BY ALL"
    before = _rows(opened, versions)
    for name in names:
        _run(opened, f"CREATE TABLE exported.{name} AS SELECT * FROM {name} WHERE {chosen} ORDER BY ALL")
    if _rows(opened, versions) != before:
        raise LakeError(f"a run changed {', '.join(experiments)} meanwhile, nothing was written; export it afterwards")
    return {name: _rows(opened, f"SELECT count(*) FROM exported.{name}")[0][0] for name in names}


def _versions(opened: Session) -> list[tuple[str, str, str, str]]:
    """What everything was made by, as rows of the readme: models' commits, and libraries as they were installed."""
    found: Counter[tuple[str, str]] = Counter()
    for libraries, commit in _rows(opened, "SELECT libraries, model_commit FROM exported.lineage"):
        found.update(json.loads(libraries or "{}").items())
        found.update([("base model", commit)] if commit else [])
    own = ("version", "sl_assets", version("sl_assets"), "by which this file was written")
    return [own, *(("version", *key, f"when {count:,} partitions were made") for key, count in sorted(found.items()))]


def _put(opened: Session, name: str, columns: Columns, rows: Sequence[tuple[Any, ...]]) -> None:
    """Create the table ``name`` with ``rows``, and say what it means."""
    kinds = {TEXT: "VARCHAR", REAL: "DOUBLE"}
    listed = ", ".join(f'"{column}" {kinds[dtype]}' for column, (dtype, _) in columns.items())
    _run(opened, f"CREATE TABLE exported.{name} ({listed})")
    lists = [list(values) for values in zip(*rows, strict=True)]
    if lists:
        values = ", ".join(f"unnest(${place})" for place in range(1, len(lists) + 1))
        opened.interruptible(opened.connection.execute, f"INSERT INTO exported.{name} SELECT {values}", lists)
    for column, (_, meaning) in columns.items():
        _run(opened, f'COMMENT ON COLUMN exported.{name}."{column}" IS {quoted(meaning)}')
    _run(opened, f"COMMENT ON TABLE exported.{name} IS {quoted(OF_ITSELF[name])}")


def _write_zip(opened: Session, names: Sequence[str], file: Path) -> None:
    """Write the tables ``names`` to a zip, each as CSV."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo(f"{name}.csv", FIRST_DAY)
            member.compress_type = zipfile.ZIP_DEFLATED
            (statement,) = opened.statements(f"SELECT * FROM exported.{name}")
            with archive.open(member, "w", force_zip64=True) as raw:
                for piece in csv_of(opened.result(statement)):
                    raw.write(piece.encode())


def _run(opened: Session, sql: str) -> None:
    opened.interruptible(opened.connection.execute, sql)


def _rows(opened: Session, sql: str) -> list[tuple[Any, ...]]:
    return opened.interruptible(opened.connection.execute(sql).fetchall)
