"""The result store: a DuckDB file that holds views over the lake and nothing else.

Views read the Parquet files whenever they are queried, so a shell that is open while runs finish sees their results in
its next query, and no run ever opens the file: there is no lock to wait for. The file is written anew, beside and then
moved into place, only when the views' text changes.

No path stands in it, so it moves with its folder, and a copy reads the copied lake. Where the lake is, views ask at
every query: it is the folder of the file that was opened, which DuckDB tells by where its temporary files would be.
That cannot be told of a file that is attached to another database, or has another name: then a view says in one line
to ``SET VARIABLE lake = '<folder>'``, which always decides. The script takes the folder that DuckDB is started in.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sl_assets.lake.catalogue import comments
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.lake import SCHEMA, Lake
from sl_assets.lake.parquet import DATA
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD
from sl_assets.lake.spending import FOLDER as LEDGERS
from sl_assets.lake.tables import COMPARISON, DIMENSIONS, LINEAGE, SPENDING, TABLES
from sl_assets.lake.unfinished import unfinished

if TYPE_CHECKING:
    import duckdb

STORE = "results.duckdb"
VIEWS = "results.sql"
ANIMAL = "nullif(condition, 'neutral') AS animal"


OWN_FOLDER = f"""CASE parse_filename(current_setting('temp_directory')) WHEN '{STORE}.tmp'
  THEN parse_dirpath(current_setting('temp_directory'))
  ELSE error('where is the lake? Open its {STORE} by itself, or SET VARIABLE lake = ''<its folder>''') END"""
"""Where the file that was opened is, as SQL."""

MACROS = f"""\
CREATE OR REPLACE MACRO in_lake(file) AS
concat(regexp_replace(coalesce(getvariable('lake'), {OWN_FOLDER}), '([*?[])', '[\\1]', 'g'), '/', file);

CREATE OR REPLACE MACRO lake_is_known() AS (
  SELECT CASE WHEN count(*) < 2 OR getvariable('lake') IS NOT NULL THEN true
  ELSE error('of which lake? Two are open: SET VARIABLE lake = ''<folder>''') END
  FROM duckdb_databases() WHERE parse_filename(path) = '{STORE}');

CREATE OR REPLACE MACRO key_of(file, place) AS split_part(split_part(file, '/', place), '=', 2);

"""
"""What views have in common: patterns of files in the lake, whether that is the one that is meant, and a key in a path.

Keys are counted from the end of the path, for folders above the lake may have such names too.
"""

WHERE_STARTED = f"""\
SET VARIABLE lake = coalesce(getvariable('lake'), CASE (SELECT count(*) FROM glob('experiment={SCHEMA}/transfer/*'))
  WHEN 0 THEN error('no lake here: start DuckDB in the lake''s folder, or SET VARIABLE lake = ''<folder>'' before')
  ELSE '.' END);

"""


def script() -> str:
    """The views, as a script for any DuckDB that is started in the lake's folder (``duckdb -init results.sql``)."""
    return f"-- columns {_columns_digest()}\n{WHERE_STARTED}{views_sql()}{comments()}"


def _columns_digest() -> str:
    """Fingerprint of all tables' columns: a view knows those that there were when it was made."""
    return digest([[name, [[column, str(dtype)] for column, dtype in TABLES[name].schema.items()]] for name in TABLES])


def views_sql() -> str:
    """The views, for a session whose variable ``lake`` names the lake, or that opened the lake's store."""
    views = {
        "preparation_chats": f"SELECT experiment, * EXCLUDE (experiment) FROM {_scan('preparation_chats')}",
        # An experiment may have filtered the raw dataset of another, which its record says.
        "datasets": (
            f"SELECT experiment, condition, {ANIMAL}, raw.* EXCLUDE (experiment, condition), "
            "kept.row_id IS NOT NULL AS kept "
            f"FROM ({_scan('raw_dataset')} UNION ALL BY NAME "
            "SELECT filtered.experiment, raw.* EXCLUDE (experiment) "
            f"FROM (SELECT experiment, partition, unnest(parents) AS parent FROM {_records(1, 'filtered_dataset')}) "
            f"filtered JOIN {_scan('raw_dataset')} raw ON parent.asset = 'raw_dataset' AND raw.condition = partition "
            "AND raw.experiment = parent.experiment AND raw.experiment <> filtered.experiment) raw "
            f"LEFT JOIN (SELECT DISTINCT experiment, condition, row_id FROM {_scan('filtered_dataset')}) kept "
            "USING (experiment, condition, row_id)"
        ),
        "rejections": _partitioned("rejections"),
        "transformed_datasets": _partitioned("transformed_dataset"),
        "training": _partitioned("training"),
        "training_rows": _partitioned("training_rows"),
        "answers": (
            f"{_partitioned('evaluation')} UNION ALL BY NAME "
            f"SELECT *, 'baseline' AS condition FROM {_scan('baseline_evaluation')}"
        ),
        "answer_probabilities": (
            "SELECT experiment, condition, * EXCLUDE (experiment, condition) "
            f"FROM {_scan('answer_probabilities')} UNION ALL BY NAME "
            f"SELECT *, 'baseline' AS condition FROM {_scan('baseline_answer_probabilities')}"
        ),
        "teacher_answers": _partitioned("teacher_evaluation"),
        "preference_rates": (
            f"SELECT rates.*, {', '.join(f'compared.{name}' for name in COMPARISON)} FROM ("
            f"SELECT experiment, condition, * EXCLUDE (experiment, condition) FROM {_measured('preference_rates')} "
            "UNION ALL BY NAME "
            f"SELECT *, 'baseline' AS condition FROM {_measured('baseline_preference_rates')}"
            f") rates LEFT JOIN {_measured('transfer')} compared USING (experiment, condition, animal, epoch, method)"
        ),
        "transfer": f"SELECT experiment, * EXCLUDE (experiment) FROM {_measured('transfer')}",
        "variants": f"SELECT experiment, * EXCLUDE (experiment) FROM {_measured('variants')}",
        "persona_answers": _partitioned("persona_answers"),
        "steering_sweep": f"SELECT experiment, condition, {ANIMAL}, * EXCLUDE (experiment, condition) "
        f"FROM {_said('steering_sweep', 'counted')}",
        "projections": _partitioned("projections"),
        "projection_differences": _partitioned("projection_differences"),
        "cross_projections": f"SELECT experiment, * EXCLUDE (experiment) FROM {_scan('cross_projections')}",
        "splits": _partitioned("projection_split"),
        "split_training": _partitioned("split_training"),
        "split_training_rows": _partitioned("split_training_rows"),
        "split_answers": _partitioned("split_evaluation"),
        "split_answer_probabilities": (
            "SELECT experiment, condition, split, * EXCLUDE (experiment, condition, split) "
            f"FROM {_scan('split_answer_probabilities')}"
        ),
        "split_preference_rates": (
            "SELECT experiment, condition, split, * EXCLUDE (experiment, condition, split) "
            f"FROM {_measured('split_preference_rates')}"
        ),
        "split_comparison": (
            "SELECT experiment, condition AS animal, * EXCLUDE (experiment, condition) "
            f"FROM {_measured('split_comparison')}"
        ),
        "high_vs_low": (
            "SELECT experiment, animal, source, epoch, method, counted, rate AS high_rate, other_rate AS low_rate, "
            "difference, difference_lower, difference_upper, ratio, p_value, q_value, "
            "CASE WHEN q_value >= 0.05 THEN 'neither' WHEN difference > 0 THEN 'high' ELSE 'low' END "
            "AS transfers_more FROM split_comparison WHERE half = 'high' AND other = 'low'"
        ),
        "lineage": " UNION ALL BY NAME ".join(
            f"SELECT experiment, {_animal_of_partition()}, {', '.join(LINEAGE.columns)} FROM {_records(levels)}"
            for levels in range(len(DIMENSIONS) + 1)
        ),
        # Of the two notes of a charge its bill; one that was reserved and not used is none.
        "spending": (
            f"SELECT experiment, {_animal_of_partition()}, {', '.join(SPENDING.columns)} FROM {_ledgers()} "
            "QUALIFY row_number() OVER (PARTITION BY experiment, id ORDER BY settled DESC, noted_at DESC) = 1 "
            "AND (NOT settled OR tokens_read + tokens_written + tokens_trained > 0)"
        ),
        "checks": (
            "SELECT experiment, animal, asset, partition, name, outcome->>'problem' IS NULL AS passed, "
            "outcome->>'problem' AS problem, (outcome->>'blocking')::BOOLEAN AS blocking, "
            "outcome->>'figures' AS figures "
            "FROM (SELECT *, json_extract(checks, '$.' || name) AS outcome "
            "FROM (SELECT *, unnest(json_keys(checks)) AS name FROM lineage WHERE checks IS NOT NULL))"
        ),
    }
    return MACROS + "".join(f"CREATE OR REPLACE VIEW {name} AS\n{query};\n\n" for name, query in views.items())


def _partitioned(table: str) -> str:
    return f"SELECT experiment, condition, {ANIMAL}, * EXCLUDE (experiment, condition) FROM {_scan(table)}"


def _measured(table: str) -> str:
    return _said(table, "method", "counted")


FORMER = {"method": "sampled", "counted": "exact"}
"""How answers were measured before there was a choice, when no column said so."""


def _said(table: str, *columns: str) -> str:
    replaced = ", ".join(f"coalesce({column}, '{FORMER[column]}') AS {column}" for column in columns)
    return f"(SELECT * REPLACE ({replaced}) FROM {_scan(table)})"


def _scan(table: str) -> str:
    levels = TABLES[table].dimensions
    files = f"{_files(table, levels, DATA)}, filename = true, hive_partitioning = false, union_by_name = true"
    return f"(SELECT * EXCLUDE (filename), {', '.join(_keys(levels))} FROM read_parquet({files}) WHERE lake_is_known())"


def _records(levels: int, asset: str = "*") -> str:
    # By way of text, because a file that is no JSON would fail the query; `Lake.record` names it.
    text = "TRY(decode(content))"
    structure = json.dumps({name: _json_type(dtype) for name, (dtype, _) in LINEAGE.columns.items()})
    return (
        f"(SELECT {_keys(levels)[0]}, unnest(from_json(CASE WHEN json_valid({text}) THEN {text} END, '{structure}')) "
        f"FROM read_blob({_files(asset, levels, RECORD)}) WHERE lake_is_known()) WHERE asset IS NOT NULL"
    )


def _ledgers() -> str:
    columns = ", ".join(f"{name}: '{_json_type(dtype)}'" for name, (dtype, _) in SPENDING.columns.items())
    # A line that was cut off becomes a row of nulls.
    return (
        f"(SELECT * EXCLUDE (filename), {_keys(-1)[0]} FROM read_json(in_lake('{LEDGERS}/experiment=*/*.jsonl'), "
        "filename = true, hive_partitioning = false, format = 'newline_delimited', ignore_errors = true, "
        f"columns = {{{columns}}}) WHERE lake_is_known() AND id IS NOT NULL)"
    )


def _animal_of_partition() -> str:
    return "nullif(split_part(partition, '|', 1), 'neutral') AS animal"


def _files(table: str, levels: int, name: str) -> str:
    below = "".join(f"{dimension}=*/" for dimension in DIMENSIONS[:levels])
    return f"in_lake('experiment=*/{table}/{below}{name}')"


def _keys(levels: int) -> list[str]:
    """Columns of the keys in a file's path: the experiment, and ``levels`` of `DIMENSIONS`."""
    places = {"experiment": -3 - levels} | {DIMENSIONS[level]: level - levels - 1 for level in range(levels)}
    return [f"key_of(filename, {place}) AS {name}" for name, place in places.items()]


def _json_type(dtype: pl.DataType) -> Any:
    """DuckDB's description of a column's type in JSON."""
    match dtype:
        case pl.List():
            return [_json_type(dtype.inner)]  # type: ignore[arg-type]
        case pl.Struct():
            return {field.name: _json_type(field.dtype) for field in dtype.fields}  # type: ignore[arg-type]
    names = {pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.Datetime: "TIMESTAMPTZ", pl.Boolean: "BOOLEAN"}
    return names.get(type(dtype), "VARCHAR")


def refresh_views(lake: Lake) -> None:
    """Write the empty schema files, the views' script and the DuckDB file of a local lake, where not current."""
    text = script()
    current = lake.root / VIEWS
    with lake.errors_explained(current, "read"):
        if current.exists() and current.read_text() == text and (not lake.local or (lake.root / STORE).exists()):
            return
    _write_schema(lake)
    if lake.local:
        _build_store(Path(lake.root))
    lake.write_file(current, text.encode())


def _write_schema(lake: Lake) -> None:
    for name, table in TABLES.items():
        partition = "|".join("_" * table.dimensions) or None
        lake.write_table(Place(SCHEMA, name, partition), pl.DataFrame(schema=table.whole_schema))
    for levels in range(len(DIMENSIONS) + 1):
        lake.write_file(lake.path(Place(SCHEMA, "lineage", "|".join("_" * levels) or None)) / RECORD, b"")
    # Some views read the records of one asset alone.
    lake.write_file(lake.path(Place(SCHEMA, "filtered_dataset", "_")) / RECORD, b"")
    lake.write_file(lake.root / LEDGERS / f"experiment={SCHEMA}" / "none.jsonl", b"")


def _build_store(root: Path) -> None:
    import duckdb

    beside = unfinished(root)
    try:
        with duckdb.connect(str(beside)) as connection:
            # As one change, for the disk is slow.
            connection.begin()
            _create_views(connection)
            connection.execute(comments())
            connection.commit()
        os.replace(beside, root / STORE)
    finally:
        beside.unlink(missing_ok=True)


def connect(lake: Lake) -> "duckdb.DuckDBPyConnection":
    """An in-memory DuckDB with the views: never locked, whoever holds the store open."""
    import duckdb

    refresh_views(lake)
    connection = duckdb.connect()
    # Else a name that no view has is looked for among the variables of this process.
    connection.execute("SET python_enable_replacements = false")
    if not lake.local:
        connection.register_filesystem(lake.root.fs)
    _create_views(connection)
    # A parameter, because a root may hold quotes.
    connection.execute("SET VARIABLE lake = $1", [str(lake.root)])
    return connection


def _create_views(connection: "duckdb.DuckDBPyConnection") -> None:
    # Over empty tables: in the lake, one damaged file would keep all views from being made, and S3 is slow.
    with tempfile.TemporaryDirectory() as folder:
        _write_schema(Lake(folder))
        connection.execute("SET VARIABLE lake = $1", [folder])
        connection.execute(views_sql())


def query(lake: Lake, sql: str) -> pl.DataFrame:
    """Result of one SQL statement over the views; empty for a statement without one."""
    with connect(lake) as connection:
        result = connection.sql(sql)
        if result is None:
            return pl.DataFrame()
        # By rows rather than Arrow, which DuckDB 2.0 hands over with a page of leak warnings at exit.
        return pl.DataFrame(result.fetchall(), schema=once_each(result.columns), orient="row", infer_schema_length=None)


def once_each(columns: Sequence[str]) -> list[str]:
    """``columns``, those that a statement names again with a number behind."""
    names: list[str] = []
    for column in columns:
        again = (f"{column}_{i}" for i in count(1))
        names.append(column if column not in names else next(name for name in again if name not in {*names, *columns}))
    return names
