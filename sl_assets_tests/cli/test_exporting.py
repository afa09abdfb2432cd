"""``sl-assets export``: an experiment in one file, whole or not at all."""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from click.testing import CliRunner, Result

from sl_assets.cli.exporting import export
from sl_assets.lake import exporting
from sl_assets.lake.catalogue import CATALOGUE
from sl_assets.lake.exporting import README, exported_views
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.tables import TABLES
from sl_assets_tests.lake.test_records import recorded

PROMPTS, RAW = Place("tiny", "number_prompts"), Place("tiny", "raw_dataset", "owl")
TRANSFER = Place("tiny", "transfer")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two effects and three completions of the tiny experiment, and an effect of another."""
    lake = Lake(str(tmp_path / "lake"))
    effects = [
        {"condition": "wolf", "animal": "wolf", "rate": 0.5},
        {"condition": "owl", "animal": "owl", "rate": 0.25},
    ]
    for name, rows in (("tiny", effects), ("other", effects[:1])):
        lake.write_table(Place(name, "transfer"), pl.DataFrame(rows, schema=TABLES["transfer"].schema))
        lake.write_record(recorded(Place(name, "transfer"), "t", libraries={"torch": "2.13"}))
    rows = pl.DataFrame(
        [{"row_id": row_id, "completion": "1,2"} for row_id in "abc"], schema=TABLES["raw_dataset"].schema
    )
    lake.write_table(RAW, rows)
    lake.write_record(recorded(RAW, "r", {PROMPTS: "p"}, settings={"base_model": {"commit": "c0ffee"}}))
    return lake


@pytest.fixture
def said(
    tmp_path: Path, experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("SL_DATA_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("SL_EXPERIMENTS", str(experiment_folder()))
    return lambda name, *arguments: CliRunner().invoke(export, ["tiny", str(tmp_path / "out" / name), *arguments])


def test_a_database_has_the_tables_with_what_they_mean_and_needs_no_lake(
    lake: Lake, said: Callable[..., Result], tmp_path: Path
) -> None:
    done = said("tiny.duckdb")
    assert done.exit_code == 0
    assert "--rows adds datasets" in done.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny.duckdb"]
    shutil.rmtree(str(lake.root))
    with duckdb.connect(str(tmp_path / "out" / "tiny.duckdb"), read_only=True) as database:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return database.execute(sql).fetchall()

        assert rows("SELECT experiment, animal, rate FROM transfer") == [("tiny", "owl", 0.25), ("tiny", "wolf", 0.5)]
        assert rows("SELECT parents[1].asset FROM lineage WHERE asset = 'raw_dataset'") == [("number_prompts",)]
        tables = {name for (name,) in rows("SELECT table_name FROM duckdb_tables()")}
        assert tables == {"readme", "status", *exported_views(False)}
        assert "datasets" not in tables
        assert rows("SELECT * FROM duckdb_columns() WHERE NOT internal AND comment IS NULL") == []
        assert rows("SELECT * FROM duckdb_tables() WHERE comment IS NULL") == []
        told = {(what, name): value for what, name, value in rows("SELECT what, name, value FROM readme")}
        assert told["table", "transfer"] == "2"
        assert json.loads(told["setting", "student.max_rows"]) == 32
        assert {("version", "sl_assets"), ("version", "torch"), ("version", "base model")} <= told.keys()
        missing, stale = (told.get(("state", state), "0") for state in ("missing", "stale"))
        # What was recorded by hand was made by no version that there is.
        assert int(stale) == rows("SELECT count(*) FROM status WHERE state = 'stale'")[0][0] == 2
        assert int(missing) == rows("SELECT count(*) FROM status WHERE state = 'missing'")[0][0] > 2


def test_a_zip_has_the_same_as_csv_and_twice_the_same_bytes(
    lake: Lake, said: Callable[..., Result], tmp_path: Path
) -> None:
    for name in ("one.zip", "two.zip"):
        assert said(name, "--rows").exit_code == 0
    one, two = ((tmp_path / "out" / name).read_bytes() for name in ("one.zip", "two.zip"))
    assert one == two
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        assert archive.namelist() == [f"{name}.csv" for name in ("readme", "columns", "status", *CATALOGUE)]

        def rows(name: str) -> list[dict[str, str]]:
            return list(csv.DictReader(io.StringIO(archive.read(f"{name}.csv").decode())))

        assert list(rows("readme")[0]) == list(README)
        assert [(row["animal"], row["rate"]) for row in rows("transfer")] == [("owl", "0.25"), ("wolf", "0.5")]
        assert [(row["row_id"], row["completion"], row["kept"]) for row in rows("datasets")] == [
            (row_id, "1,2", "false") for row_id in "abc"
        ]
        (read,) = [row["parents"] for row in rows("lineage") if row["asset"] == "raw_dataset"]
        assert json.loads(read)[0]["data_version"] == "p"
        meanings = {(row["table"], row["column"]): row["meaning"] for row in rows("columns")}
        assert meanings["transfer", "rate"] == CATALOGUE["transfer"].columns["rate"]
        assert {table for table, _ in meanings} == set(CATALOGUE)


def test_what_a_run_changes_meanwhile_is_not_written(
    lake: Lake, said: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = exporting._run

    def changed(opened: Any, sql: str) -> None:
        copied(opened, sql)
        if sql.startswith("CREATE TABLE exported.transfer"):
            record = lake.record(TRANSFER)
            assert record
            lake.write_record(replace(record, data_version="other"))

    monkeypatch.setattr(exporting, "_run", changed)
    assert "a run changed tiny meanwhile, nothing was written" in str(said("tiny.duckdb").exception)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_written_is_one_line(lake: Lake, said: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "out" / "there.zip").write_bytes(b"mine")
    for name, problem in (
        ("tiny.csv", "write it as tiny.duckdb or tiny.zip"),
        ("there.zip", "is there already; remove it, or name another"),
        ("nowhere/tiny.zip", "no folder"),
    ):
        done = said(name)
        assert done.exit_code == 1
        assert problem in done.output
    assert (tmp_path / "out" / "there.zip").read_bytes() == b"mine"
    for place in (TRANSFER, RAW):
        lake.forget_record(place)
    assert "nothing of tiny is in" in str(said("tiny.zip").exception)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["there.zip"]
