"""The gallery that comes with the project: small, of no machine, and its page's queries answer."""

import re
import shutil
from pathlib import Path

import pytest

from sl_assets.config import PROJECT
from sl_assets.lake.gallery import ABSOLUTE, RESULTS
from sl_assets.lake.lake import Lake
from sl_assets.lake.views import query

GALLERY = PROJECT / "examples" / "pocket"
PAGE = (GALLERY / "README.md").read_text()
LARGEST = 300_000
"""Bytes of all its tables."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The gallery, where a query may write its views."""
    folder = tmp_path_factory.mktemp("gallery") / "pocket"
    shutil.copytree(GALLERY, folder, ignore=shutil.ignore_patterns("experiment=_schema", "results.*"))
    return Lake(str(folder))


def test_every_query_of_the_page_answers(copy: Lake) -> None:
    statements = re.findall(r'sl-assets sql --lake examples/pocket "([^"]+)"', PAGE)
    assert len(statements) >= 4
    for statement in statements:
        assert query(copy, statement).height, statement


def test_figures_of_the_page_are_those_of_its_tables(copy: Lake) -> None:
    rows = query(
        copy, "SELECT animal, method, baseline_rate, neutral_rate, rate, ratio FROM transfer WHERE condition = animal"
    )
    assert rows.height
    for row in rows.iter_rows(named=True):
        cells = [row["animal"], row["method"], *(f"{row[name]:.4g}" for name in rows.columns[2:])]
        assert re.search(r"\| " + r" +\| ".join(map(re.escape, cells)) + r" +\|", PAGE), cells


def test_it_is_small_and_holds_results_alone() -> None:
    tables = [path for path in GALLERY.rglob("*.parquet") if "experiment=_schema" not in path.parts]
    assert 0 < sum(path.stat().st_size for path in tables) < LARGEST
    assert {path.relative_to(GALLERY).parts[1] for path in tables} <= set(RESULTS)


def test_no_record_names_a_machine() -> None:
    records = [path.read_text() for path in Path(GALLERY).rglob("record.json")]
    assert records
    assert not [found for text in records if (found := ABSOLUTE.search(text))]
