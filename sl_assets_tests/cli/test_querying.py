"""``sl-assets sql``: where statements come from, what becomes of their rows, and mistakes in one line."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from sl_assets.cli.querying import sql
from sl_assets.lake.catalogue import CATALOGUE
from sl_assets.lake.lake import Lake
from sl_assets.lake.views import refresh_views


@pytest.fixture(autouse=True, scope="module")
def _lake(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("lake")
        refresh_views(Lake(str(root)))
        patch.setenv("SL_DATA_LAKE", str(root))
        yield


def said(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(sql, arguments, input=typed)


def test_what_can_be_queried_is_listed_with_its_meaning() -> None:
    listed = json.loads(said("--tables", "--json").output)
    assert {row["table"]: row["a row is"] for row in listed} == {name: view.row for name, view in CATALOGUE.items()}
    columns = json.loads(said("--columns", "high_vs_low", "--json").output)
    assert [row["column"] for row in columns][:3] == ["experiment", "animal", "source"]
    assert {row["column"]: row["meaning"] for row in columns} == CATALOGUE["high_vs_low"].columns
    # As a table, meanings are whole.
    assert CATALOGUE["high_vs_low"].columns["counted"] in said("--columns", "high_vs_low").output


def test_statements_come_from_a_file_and_from_standard_input(tmp_path: Path) -> None:
    text = (
        "CREATE TABLE t AS SELECT 5 AS i;\n-- The first\nSELECT i FROM t;\n\n-- The second\nSELECT i + 1 AS j FROM t;\n"
    )
    (tmp_path / "two.sql").write_text(text)
    done = said("-f", str(tmp_path / "two.sql"))
    assert [line for line in done.output.splitlines() if "--" not in line] == [
        "The first", "| i |", "| 5 |", "", "The second", "| j |", "| 6 |",
    ]  # fmt: skip
    assert said("-", typed=text).output == said("-f", "-", typed=text).output == done.output
    assert said("SELECT 1 AS a").output.splitlines()[0] == "| a |"


def test_rows_are_written_as_parquet_whole_and_with_their_types(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    done = said(
        "CREATE TABLE t AS SELECT 1; SELECT [1] AS l, 2 AS a, 'x' AS a FROM range(12345);", "--parquet", str(file)
    )
    assert done.output == f"{file}: 12,345 rows\n"
    assert pl.read_parquet(file).unique().to_dicts() == [{"l": [1], "a": 2, "a_1": "x"}]
    before = file.read_bytes()
    assert said("SELECT error('no') FROM range(10)", "--parquet", str(file)).exit_code == 1
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "name statements, or -f FILE"),
        (("SELECT 1", "--tables"), "and one of them"),
        (("SELECT 1", "--csv", "--json"), "--csv, --json, --parquet: choose one"),
        (("--columns", "rates"), "--columns rates: no such table; there are datasets, "),
        (("-f", "/nowhere.sql"), "-f /nowhere.sql: no such file or directory; name a file of SQL"),
        (("SELECT 1; SELECT 2", "--csv"), "2 statements give rows"),
        (("SET VARIABLE x = 1", "--parquet", "x.parquet"), "the last statement gives no rows"),
        (("SELECT 1", "--parquet", "/nowhere/x.parquet"), "/nowhere/x.parquet: no folder /nowhere"),
        (("SELECT 1", "--parquet", "/"), "/: is a folder; name a file in it"),
        (("SELECT nothing", "--json"), "SQL: Binder Error"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...], problem: str) -> None:
    done = said(*arguments)
    assert done.exit_code != 0
    assert problem in done.output
    assert "Traceback" not in done.output


def test_a_wrong_statement_is_said_to_be_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "wrong.sql").write_text("SELECT 1;\nSELEC 2")
    assert f"{tmp_path / 'wrong.sql'}: Parser Error" in said("-f", str(tmp_path / "wrong.sql")).output
