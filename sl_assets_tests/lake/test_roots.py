"""Folders with odd names that a lake may lie in, the whole way from writing to SQL and pruning."""

import os
from pathlib import Path

import duckdb
import polars as pl
import pytest

from sl_assets.errors import LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.parquet import DATA
from sl_assets.lake.pins import pin, pins
from sl_assets.lake.places import Place
from sl_assets.lake.prune import leftovers
from sl_assets.lake.views import STORE, VIEWS, query, refresh_views
from sl_assets.lake.work import Work
from sl_assets.orchestration.migration import unmigrated
from sl_assets_tests.lake.filling import write_folder
from sl_assets_tests.lake.test_records import recorded

TRAINING = Place("exp", "training", "cat")
RESULT = [("exp", "cat", 1)]
SQL = "SELECT experiment, condition, step FROM training"

ODD = [
    "a*b",
    "a[bc]d",
    "[!a]",
    "it's",
    'say "a"',
    "Käse ☃ %20 #;",
    "a{b,c}d",
    "s3:",
    "-~$HOME&a|b<c>^",
    "experiment=abl",
]
REFUSED = ["a?b", "a\\b", "a\nb", "a\x7fb", "a\udcffb"]
REFUSED_IN_S3 = [*REFUSED[:3], "a*b", "a[b", "a]b"]


def training(step: int) -> pl.DataFrame:
    return pl.DataFrame({"step": [step]}, schema={"step": pl.Int64})


def neighbours(lake: Lake, name: str) -> list[Path]:
    """Files beside the lake that its name would fit, were it a pattern."""
    names = {name.replace("*", "xx"), name.replace("[bc]", "b"), name.replace("[!a]", "b"), name.replace("{b,c}", "b")}
    files = [Path(lake.root).parent / other / TRAINING.folder / DATA for other in names - {name}]
    for file in files:
        file.parent.mkdir(parents=True)
        training(99).write_parquet(file)
    return files


@pytest.mark.parametrize("name", ODD)
def test_a_lake_in_a_folder_of_such_a_name_is_one_like_others(tmp_path, name, monkeypatch):
    lake = Lake(str(tmp_path / name / "lake"))
    beside = neighbours(Lake(str(tmp_path / name)), name)
    lake.write_table(TRAINING, training(1))
    adapter = Place("exp", "lora_checkpoint", "cat")
    write_folder(lake, adapter, a="1")
    with lake.folder(adapter) as folder:
        assert (folder / "deep" / "a").read_text() == "1"
    assert lake.read_table(TRAINING)["step"].to_list() == [1]
    assert pin(lake, "alice/model", lambda: "c1") == pins(lake)["alice/model"]
    work = Work(lake, TRAINING)
    work.save("piece", training(1))
    assert work.load("piece") is not None
    work.clear()
    assert work.load("piece") is None
    assert unmigrated(lake) == []

    assert query(lake, SQL).rows() == RESULT
    assert query(lake, "SELECT asset FROM lineage").rows() == [("lora_checkpoint",)]
    with duckdb.connect(str(Path(lake.root) / STORE), read_only=True) as connection:
        assert connection.sql(SQL).fetchall() == RESULT
    monkeypatch.chdir(lake.root)
    with duckdb.connect() as connection:
        connection.execute(Path(VIEWS).read_text())
        assert connection.sql(SQL).fetchall() == RESULT

    for gone in leftovers(lake, {}):
        assert gone.path.name == "experiment=exp"
        gone.delete()
    assert not (lake.root / "experiment=exp").exists()
    assert lake.root.exists()
    assert query(lake, SQL).is_empty()
    assert query(lake, "SELECT asset FROM lineage").is_empty()
    assert all(file.is_file() for file in beside)


@pytest.mark.parametrize(
    "root", [*(f"/lakes/{name}/x" for name in REFUSED), *(f"s3://b/{name}" for name in REFUSED_IN_S3)]
)
def test_a_name_that_would_be_misread_is_refused_in_one_line(root):
    with pytest.raises(LakeError) as error:
        Lake(root)
    character = next(character for character in "?\\\n\x7f\udcff*[]" if character in root)
    assert repr(root) in str(error.value)
    assert repr(character) in str(error.value)
    assert "rename the folder, or set SL_DATA_LAKE to another" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_store_of_an_odd_folder_is_current(tmp_path):
    lake = Lake(str(tmp_path / "a[b]*"))
    refresh_views(lake)
    before = (Path(lake.root) / STORE).stat()
    lake.write_record(recorded(TRAINING, "v1"))
    refresh_views(lake)
    assert os.path.samestat((Path(lake.root) / STORE).stat(), before)
