"""Names of folders and files in a lake: any file system takes them."""

import re
from pathlib import Path

import polars as pl

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.work import Work
from sl_assets_tests.conftest import Bench

REFUSED_BY_WINDOWS = re.compile(r'[<>:"\\|?*\x00-\x1f]|[ .]$')


def test_names_in_a_lake_are_names_on_every_file_system(halved: Bench) -> None:
    names = {path.name for path in Path(halved.root).rglob("*")}
    assert {"split=animal_high", "results.duckdb", "record.json", ".work"} <= names
    assert [name for name in names if REFUSED_BY_WINDOWS.search(name)] == []


def test_names_of_pieces_of_work_are_such_names_too(tmp_path: Path) -> None:
    work = Work(Lake(str(tmp_path / "lake")), Place("exp", "split_evaluation", "owl|animal_high"))
    pieces = {f"answers/{split}/1-00000": pl.DataFrame({"split": [split]}) for split in ("owl|high", "owl|low", "owl")}
    for name, piece in pieces.items():
        work.save(name, piece)
    for name, piece in pieces.items():
        assert work.load(name).equals(piece)  # type: ignore[union-attr]
    assert [path for path in tmp_path.rglob("*") if REFUSED_BY_WINDOWS.search(path.name)] == []
