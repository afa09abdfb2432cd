"""The result store: a DuckDB file that holds views over the lake and nothing else.

Views read the Parquet files whenever they are queried, so a shell that is open while runs finish sees their results in
its next query, and no run ever opens the file: there is no lock to wait for. The file is written anew, beside and then
moved into place, only when the views' text changes.
"""

import glob
import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from sl_assets.lake.lake import DATA, Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD
from sl_assets.lake.tables import COMPARISON, DIMENSIONS, LINEAGE, TABLES
from sl_assets.lake.unfinished import unfinished

if TYPE_CHECKING:
    import duckdb

STORE = "results.duckdb"
VIEWS = "results.sql"
SCHEMA = "_schema"
"""Name of a pseudo-experiment that holds one empty file per view, so that every view exists before its first run."""

ANIMAL = "nullif(condition, 'neutral') AS animal"


def views_sql(lake: Lake) -> str:
    """The views, as a script that any DuckDB can run (``duckdb -init data_lake/results.sql``)."""
    views = {
        "datasets": (
            f"SELECT experiment, condition, {ANIMAL}, raw.* EXCLUDE (experiment, condition), "
            "kept.row_id IS NOT NULL AS kept "
            f"FROM {_scan(lake, 'raw_dataset')} raw "
            f"LEFT JOIN (SELECT DISTINCT experiment, condition, row_id FROM {_scan(lake, 'filtered_dataset')}) kept "
            "USING (experiment, condition, row_id)"
        ),
        "rejections": _partitioned(lake, "rejections"),
        "training": _partitioned(lake, "training"),
        "answers": (
            f"{_partitioned(lake, 'evaluation')} UNION ALL BY NAME "
            f"SELECT *, 'baseline' AS condition FROM {_scan(lake, 'baseline_evaluation')}"
        ),
        "teacher_answers": _partitioned(lake, "teacher_evaluation"),
        "preference_rates": (
            f"SELECT rates.*, {', '.join(f'compared.{name}' for name in COMPARISON)} FROM ("
            f"SELECT experiment, condition, * EXCLUDE (experiment, condition) FROM {_scan(lake, 'preference_rates')} "
            "UNION ALL BY NAME "
            f"SELECT *, 'baseline' AS condition FROM {_scan(lake, 'baseline_preference_rates')}"
            f") rates LEFT JOIN {_scan(lake, 'transfer')} compared USING (experiment, condition, animal, epoch)"
        ),
        "transfer": f"SELECT experiment, * EXCLUDE (experiment) FROM {_scan(lake, 'transfer')}",
        "persona_answers": _partitioned(lake, "persona_answers"),
        "steering_sweep": _partitioned(lake, "steering_sweep"),
        "projections": _partitioned(lake, "projections"),
        "projection_differences": _partitioned(lake, "projection_differences"),
        "cross_projections": f"SELECT experiment, * EXCLUDE (experiment) FROM {_scan(lake, 'cross_projections')}",
        "splits": _partitioned(lake, "projection_split"),
        "split_training": _partitioned(lake, "split_training"),
        "split_answers": _partitioned(lake, "split_evaluation"),
        "split_preference_rates": (
            "SELECT experiment, condition, split, * EXCLUDE (experiment, condition, split) "
            f"FROM {_scan(lake, 'split_preference_rates')}"
        ),
        "split_comparison": (
            "SELECT experiment, condition AS animal, * EXCLUDE (experiment, condition) "
            f"FROM {_scan(lake, 'split_comparison')}"
        ),
        "high_vs_low": (
            "SELECT experiment, animal, source, epoch, rate AS high_rate, other_rate AS low_rate, difference, "
            "difference_lower, difference_upper, ratio, p_value, q_value, "
            "CASE WHEN q_value >= 0.05 THEN 'neither' WHEN difference > 0 THEN 'high' ELSE 'low' END "
            "AS transfers_more FROM split_comparison WHERE half = 'high' AND other = 'low'"
        ),
        "lineage": " UNION ALL BY NAME ".join(
            "SELECT experiment, nullif(split_part(partition, '|', 1), 'neutral') AS animal, "
            f"{', '.join(LINEAGE.columns)} FROM {_records(lake, levels)}"
            for levels in range(len(DIMENSIONS) + 1)
        ),
        "checks": (
            "SELECT experiment, animal, asset, partition, name, outcome->>'problem' IS NULL AS passed, "
            "outcome->>'problem' AS problem, (outcome->>'blocking')::BOOLEAN AS blocking, "
            "outcome->>'figures' AS figures "
            "FROM (SELECT *, json_extract(checks, '$.' || name) AS outcome "
            "FROM (SELECT *, unnest(json_keys(checks)) AS name FROM lineage WHERE checks IS NOT NULL))"
        ),
    }
    return "".join(f"CREATE OR REPLACE VIEW {name} AS\n{query};\n\n" for name, query in views.items())


def _partitioned(lake: Lake, table: str) -> str:
    return f"SELECT experiment, condition, {ANIMAL}, * EXCLUDE (experiment, condition) FROM {_scan(lake, table)}"


def _scan(lake: Lake, table: str) -> str:
    files = _files(lake, table, TABLES[table].dimensions, DATA)
    return f"read_parquet({files}, {HIVE}, union_by_name = true)"


def _records(lake: Lake, levels: int) -> str:
    columns = ", ".join(f"{name}: '{_sql_type(dtype)}'" for name, (dtype, _) in LINEAGE.columns.items())
    return f"read_json({_files(lake, '*', levels, RECORD)}, {HIVE}, format = 'unstructured', columns = {{{columns}}})"


HIVE = "hive_partitioning = true, hive_types_autocast = false"


def _files(lake: Lake, table: str, levels: int, name: str) -> str:
    root = glob.escape(str(lake.root)) if lake.local else str(lake.root)
    below = "".join(f"{dimension}=*/" for dimension in DIMENSIONS[:levels])
    return "'" + f"{root.rstrip('/')}/experiment=*/{table}/{below}{name}".replace("'", "''") + "'"


def _sql_type(dtype: pl.DataType) -> str:
    """DuckDB's name of a column's type."""
    match dtype:
        case pl.List():
            return f"{_sql_type(dtype.inner)}[]"  # type: ignore[arg-type]
        case pl.Struct():
            return f"STRUCT({', '.join(f'{field.name} {_sql_type(field.dtype)}' for field in dtype.fields)})"  # type: ignore[arg-type]
    return {pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.Datetime: "TIMESTAMPTZ"}.get(type(dtype), "VARCHAR")


def refresh_views(lake: Lake) -> None:
    """Write the empty schema files, the views' script and the DuckDB file of a local lake, where not current."""
    script = views_sql(lake)
    current = lake.root / VIEWS
    with lake.errors_explained(current, "read"):
        if current.exists() and current.read_text() == script and (not lake.local or (lake.root / STORE).exists()):
            return
    for name, table in TABLES.items():
        partition = "|".join("_" * table.dimensions) or None
        lake.write_table(Place(SCHEMA, name, partition), pl.DataFrame(schema=table.schema))
    for levels in range(len(DIMENSIONS) + 1):
        place = Place(SCHEMA, "lineage", "|".join("_" * levels) or None)
        lake.write_file(lake.path(place) / RECORD, b"")
    if lake.local:
        _build_store(Path(lake.root), script)
    lake.write_file(current, script.encode())


def _build_store(root: Path, script: str) -> None:
    import duckdb

    beside = unfinished(root)
    try:
        with duckdb.connect(str(beside)) as connection:
            connection.execute(script)
        os.replace(beside, root / STORE)
    finally:
        beside.unlink(missing_ok=True)


def connect(lake: Lake) -> "duckdb.DuckDBPyConnection":
    """An in-memory DuckDB with the views: never locked, whoever holds the store open."""
    import duckdb

    refresh_views(lake)
    connection = duckdb.connect()
    if not lake.local:
        connection.register_filesystem(lake.root.fs)
    connection.execute(views_sql(lake))
    return connection


def query(lake: Lake, sql: str) -> pl.DataFrame:
    """Result of one SQL statement over the views; empty for a statement without one."""
    with connect(lake) as connection:
        result = connection.sql(sql)
        if result is None:
            return pl.DataFrame()
        # By rows rather than Arrow, which DuckDB 2.0 hands over with a page of leak warnings at exit.
        return pl.DataFrame(
            result.fetchall(), schema=_once_each(result.columns), orient="row", infer_schema_length=None
        )


def _once_each(columns: Sequence[str]) -> list[str]:
    """``columns``, those that a statement names again with a number behind."""
    names: list[str] = []
    for column in columns:
        again = (f"{column}_{i}" for i in count(1))
        names.append(column if column not in names else next(name for name in again if name not in {*names, *columns}))
    return names
