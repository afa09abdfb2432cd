"""The galleries that come with the project: small, of no machine, and their pages' queries answer."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sl_assets.config import PROJECT
from sl_assets.lake.gallery import ABSOLUTE, RESULTS
from sl_assets.lake.lake import Lake
from sl_assets.lake.views import query

GALLERIES = sorted(path.parent for path in (PROJECT / "examples").glob("*/README.md"))
LARGEST = 1_400_000
"""Bytes of all tables of one."""

QUERY = re.compile(r'sl-assets sql --lake examples/(\w+) "([^"]+)"\n```\n\n```\n(.*?)```', re.DOTALL)

pytestmark = pytest.mark.parametrize("gallery", GALLERIES, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Lake]:
    """Copies, where a query may write its views."""
    copies: dict[Path, Lake] = {}

    def copy(gallery: Path) -> Lake:
        if gallery not in copies:
            folder = tmp_path_factory.mktemp("gallery") / gallery.name
            shutil.copytree(gallery, folder, ignore=shutil.ignore_patterns("experiment=_schema", "results.*"))
            copies[gallery] = Lake(str(folder))
        return copies[gallery]

    return copy


def test_what_the_page_shows_is_what_its_queries_answer(gallery: Path, copy_of: Callable[[Path], Lake]) -> None:
    shown = QUERY.findall((gallery / "README.md").read_text())
    assert len(shown) >= 3
    for name, statement, output in shown:
        assert name == gallery.name
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.strip().splitlines()]
        answer = query(copy_of(gallery), statement)
        assert rows[0] == answer.columns
        assert sorted(rows[2:]) == sorted([as_printed(value) for value in row] for row in answer.rows()), statement


def as_printed(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def test_it_is_small_and_holds_results_alone(gallery: Path) -> None:
    tables = [path for path in gallery.rglob("*.parquet") if "experiment=_schema" not in path.parts]
    assert 0 < sum(path.stat().st_size for path in tables) < LARGEST
    assert {path.relative_to(gallery).parts[1] for path in tables} <= set(RESULTS)


def test_no_record_names_a_machine(gallery: Path) -> None:
    records = [path.read_text() for path in gallery.rglob("record.json")]
    assert records
    assert not [found for text in records if (found := ABSOLUTE.search(text))]
