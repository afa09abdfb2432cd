"""What nobody needs is found and deleted, and nothing else is."""

import os
from pathlib import Path

import duckdb
import polars as pl
import pytest

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.prune import Leftover, Makes, leftovers
from sl_assets.lake.records import RECORD
from sl_assets.lake.views import STORE, query, refresh_views
from sl_assets_tests.lake.filling import put_folder
from sl_assets_tests.lake.test_records import recorded

OWL, CAT = (Place("exp", "filtered_dataset", animal) for animal in ("owl", "cat"))
RENAMED = Place("old_name", "filtered_dataset", "wolf")
HALF = Place("exp", "projection_split", "owl|animal_high")
ADAPTER = Place("exp", "lora_checkpoint", "owl")
FRAME = pl.DataFrame({"row_id": ["a"]})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Owl's and the cat's rows with their rejections, a half, an adapter, and a table that is none of ours."""
    lake = Lake(str(tmp_path / "lake"))
    for place in (OWL, CAT, HALF):
        lake.write_record(recorded(place, lake.write_table(place, FRAME)))
    for animal in ("owl", "cat"):
        lake.write_table(Place("exp", "rejections", animal), FRAME)
    lake.write_record(recorded(ADAPTER, put_folder(lake, ADAPTER, a="1")))
    lake.write_table(Place("exp", "my_summary", "cat"), FRAME)
    return lake


def makes(*places: Place) -> Makes:
    return lambda place: place in places


EVERYTHING = makes(OWL, CAT, HALF, ADAPTER)


def found(lake: Lake, **experiments: Makes) -> dict[str, Leftover]:
    return {str(one.path.relative_to(lake.root)): one for one in leftovers(lake, experiments)}


def test_of_what_is_made_nothing_is_left_over(lake: Lake) -> None:
    assert found(lake, exp=EVERYTHING) == {}


def test_a_removed_animal_goes_with_what_is_beside_it_and_nothing_else(lake: Lake) -> None:
    left = found(lake, exp=makes(OWL, HALF, ADAPTER))
    assert set(left) == {
        "experiment=exp/filtered_dataset/condition=cat",
        "experiment=exp/rejections/condition=cat",
    }
    for one in left.values():
        assert one.size > 0
        one.delete()
    assert not lake.exists(CAT)
    assert not lake.path(CAT).exists()
    assert lake.read_table(OWL).equals(FRAME)
    assert lake.read_table(Place("exp", "my_summary", "cat")).equals(FRAME), "someone else's"
    assert found(lake, exp=makes(OWL, HALF, ADAPTER)) == {}


def test_what_is_pruned_is_in_no_view(lake: Lake) -> None:
    """Nor in those of a store that somebody has open."""
    statements = [
        "SELECT DISTINCT experiment, animal FROM rejections ORDER BY 1, 2",
        "SELECT DISTINCT experiment, animal FROM lineage ORDER BY 1, 2",
    ]
    lake.write_record(recorded(RENAMED, lake.write_table(RENAMED, FRAME)))
    lake.write_table(Place("old_name", "rejections", "wolf"), FRAME)
    refresh_views(lake)
    with duckdb.connect(str(Path(lake.root) / STORE), read_only=True) as opened:
        for statement in statements:
            assert query(lake, statement).rows() == [("exp", "cat"), ("exp", "owl"), ("old_name", "wolf")]
        for one in leftovers(lake, {"exp": makes(OWL, HALF, ADAPTER)}):
            one.delete()
        for statement in statements:
            assert query(lake, statement).rows() == opened.sql(statement).fetchall() == [("exp", "owl")]


def test_a_removed_split_leaves_the_animals_others(lake: Lake) -> None:
    other = Place("exp", "projection_split", "owl|animal_low")
    lake.write_record(recorded(other, lake.write_table(other, FRAME)))
    assert set(found(lake, exp=EVERYTHING)) == {"experiment=exp/projection_split/condition=owl/split=animal_low"}


def test_an_unknown_experiment_is_one_thing_with_a_name(lake: Lake) -> None:
    (one,) = leftovers(lake, {})
    assert one.is_experiment
    assert one.experiment == "exp"
    assert one.why == "no experiment is called exp now"


def test_versions_that_no_record_names_go_after_a_day(lake: Lake) -> None:
    fresh, old = (put_folder(lake, ADAPTER, a=name) for name in ("2", "3"))
    folder = Path(lake.path(ADAPTER)) / old
    for file in folder.rglob("*"):
        os.utime(file, (0, 0))
    assert set(found(lake, exp=EVERYTHING)) == {f"experiment=exp/lora_checkpoint/condition=owl/{old}"}
    assert fresh != old


def test_versions_that_a_killed_run_has_begun_go_too(lake: Lake) -> None:
    begun = Path(lake.path(ADAPTER)) / "0123456789abcdef"
    (begun / "deep").mkdir(parents=True)
    (begun / "deep" / "a").write_text("1")
    assert found(lake, exp=EVERYTHING) == {}
    os.utime(begun / "deep" / "a", (0, 0))
    assert set(found(lake, exp=EVERYTHING)) == {f"{ADAPTER.folder}/{begun.name}"}


def test_lineage_of_an_older_version_and_work_of_nobody_go(lake: Lake) -> None:
    for name in ("experiment=exp/lineage/asset=raw_dataset/a.parquet", ".work/experiment=gone/raw_dataset/piece"):
        lake.write_file(lake.root / name, b"old")
    left = found(lake, exp=EVERYTHING)
    assert set(left) == {"experiment=exp/lineage", ".work/experiment=gone"}
    assert left[".work/experiment=gone"].is_experiment, "it may be of an experiment elsewhere, and go on"


def test_a_record_goes_before_its_data(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, data are left that nobody takes for a partition."""
    left = found(lake, exp=makes(OWL, HALF, ADAPTER))["experiment=exp/filtered_dataset/condition=cat"]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(lake.root.fs), "rm", killed)
    with pytest.raises(KeyboardInterrupt):
        left.delete()
    assert (lake.path(CAT) / "data.parquet").exists()
    assert not (lake.path(CAT) / RECORD).exists()


def test_a_stray_file_takes_nothing_with_it(lake: Lake) -> None:
    """A file manager leaves its own in every folder that somebody looks at."""
    for folder in ("", "filtered_dataset", "projection_split/condition=owl", "filtered_dataset/condition=owl"):
        lake.write_file(lake.root / "experiment=exp" / folder / ".DS_Store", b"stray")
    assert found(lake, exp=EVERYTHING) == {}


def test_folders_of_someone_elses_are_not_looked_into(lake: Lake) -> None:
    for name in ("my_plots/figures/a.png", "my_model/condition=cat/run1/weights"):
        file = Path(lake.root) / "experiment=exp" / name
        lake.write_file(lake.root / "experiment=exp" / name, b"theirs")
        os.utime(file, (0, 0))
    assert found(lake, exp=EVERYTHING) == {}
