"""Whatever can be queried says what it means, in the database itself."""

from pathlib import Path

import duckdb
import pytest

from sl_assets.lake.catalogue import CATALOGUE, COMMON, quoted
from sl_assets.lake.lake import Lake
from sl_assets.lake.tables import TABLES
from sl_assets.lake.views import STORE, VIEWS, refresh_views

COMMENTS = (
    "SELECT table_name, NULL, comment FROM duckdb_tables() WHERE NOT internal "
    "UNION ALL SELECT view_name, NULL, comment FROM duckdb_views() WHERE NOT internal "
    "UNION ALL SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    refresh_views(lake)
    return Path(lake.root)


@pytest.fixture(scope="module")
def noted(root: Path) -> list[tuple[str, str | None, str | None]]:
    with duckdb.connect(str(root / STORE), read_only=True) as connection:
        return connection.sql(COMMENTS).fetchall()


def test_no_table_view_or_column_lacks_a_comment(noted: list[tuple[str, str | None, str | None]]) -> None:
    assert len(noted) > len(CATALOGUE)
    assert [(view, column) for view, column, comment in noted if not comment] == []


def test_the_catalogue_has_the_columns_that_there_are(noted: list[tuple[str, str | None, str | None]]) -> None:
    there = {(view, column) for view, column, _ in noted if column}
    assert there == {(name, column) for name, view in CATALOGUE.items() for column in view.columns}


def test_comments_are_those_of_the_files_columns_unless_a_view_means_another(
    noted: list[tuple[str, str | None, str | None]],
) -> None:
    comments = {(view, column): comment for view, column, comment in noted}
    assert comments["training", "loss"] == TABLES["training"].columns["loss"][1]
    assert comments["training", "animal"] == COMMON["animal"]
    assert comments["transfer", "animal"] == "the animal asked about"
    assert comments["high_vs_low", "difference"] != comments["split_comparison", "difference"]
    assert comments["splits", None] == CATALOGUE["splits"].row


def test_the_script_notes_them_too(
    root: Path, noted: list[tuple[str, str | None, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    with duckdb.connect() as connection:
        connection.execute((root / VIEWS).read_text())
        assert sorted(map(str, connection.sql(COMMENTS).fetchall())) == sorted(map(str, noted))


def test_a_meaning_may_have_quotes() -> None:
    text = quoted("the animal's")
    assert duckdb.sql(f"SELECT {text}").fetchall() == [("the animal's",)]
