"""The data lake on local disk."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from fsspec.implementations.local import LocalFileSystem

from sl_assets.errors import AbsentError, LakeError
from sl_assets.lake.fingerprint import bytes_digest, frame_digest
from sl_assets.lake.lake import Lake
from sl_assets.lake.parquet import DATA, VERSION_KEY, parquet_bytes
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD
from sl_assets.lake.tables import TABLES
from sl_assets_tests.lake.filling import (
    BESIDE,
    FOLDER,
    FRAME,
    PICTURE,
    TABLE,
    everything,
    one_line,
    put_folder,
    step,
    write_folder,
    write_record,
    write_table,
)
from sl_assets_tests.lake.test_records import recorded


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def test_place_of_a_partition_and_of_a_whole_table():
    assert TABLE.folder == "experiment=exp/evaluation/condition=cat"
    assert Place("exp", "transfer").folder == "experiment=exp/transfer"
    assert (str(TABLE), str(Place("exp", "transfer"))) == ("exp/evaluation of cat", "exp/transfer")


def test_table_comes_back_as_it_was(lake):
    lake.write_table(TABLE, FRAME)
    back = lake.read_table(TABLE)
    assert back.equals(FRAME)
    assert back.schema == FRAME.schema


def test_table_is_one_file_that_any_engine_reads(lake):
    lake.write_table(TABLE, FRAME)
    assert list(everything(lake)) == [f"{TABLE.folder}/{DATA}"]
    assert pl.read_parquet(Path(lake.path(TABLE)) / DATA).equals(FRAME)


def test_empty_table_keeps_its_columns(lake):
    lake.write_table(TABLE, FRAME.clear())
    assert lake.read_table(TABLE).schema == FRAME.schema


def test_places_do_not_mix(lake):
    places = [
        TABLE,
        Place("exp", "evaluation", "owl"),
        Place("exp", "rejections", "cat"),
        Place("other", "training", "cat"),
    ]
    for i, place in enumerate(places):
        lake.write_table(place, pl.DataFrame({"i": [i]}))
    assert [lake.read_table(place).item() for place in places] == [0, 1, 2, 3]


def test_version_is_the_contents_and_travels_in_the_file(lake, tmp_path):
    version = lake.write_table(TABLE, FRAME)
    moved = Lake(str(tmp_path / "elsewhere"))
    shutil.copytree(Path(lake.root), Path(moved.root))
    moved.read_table(TABLE)
    assert version == frame_digest(FRAME) == moved.reads[TABLE]
    assert pl.read_parquet_metadata(Path(moved.path(TABLE)) / DATA)[VERSION_KEY] == version
    write_record(moved, TABLE, version)
    assert moved.version(TABLE) == version


def test_same_content_has_the_same_version_and_other_content_another(lake):
    first = lake.write_table(TABLE, FRAME)
    assert lake.write_table(TABLE, FRAME.clone()) == first
    assert lake.write_table(TABLE, FRAME[:1]) != first
    lake.read_table(TABLE)
    assert lake.reads[TABLE] != first


def test_existence(lake):
    assert not lake.exists(TABLE)
    write_table(lake, TABLE, FRAME)
    write_folder(lake, a="1")
    assert lake.exists(TABLE)
    assert lake.exists(FOLDER)
    assert not lake.exists(Place("exp", "evaluation", "owl"))


PUT: dict[Place, Callable[[Lake], str]] = {
    TABLE: lambda lake: lake.write_table(TABLE, FRAME),
    FOLDER: lambda lake: put_folder(lake, a="1"),
    PICTURE: lambda lake: lake.write_picture(PICTURE, b"png"),
}


@pytest.mark.parametrize("place", PUT, ids=str)
def test_data_without_a_record_are_nothing_that_exists(lake, place):
    version = PUT[place](lake)
    assert everything(lake)
    assert not lake.exists(place)
    assert lake.record(place) is None
    with pytest.raises(AbsentError, match=rf"{place} is not in .*: materialise it first"):
        lake.version(place)
    lake.write_record(recorded(place, version))
    assert lake.exists(place)
    assert lake.version(place) == version


def test_a_record_comes_back_from_another_lake_object(lake):
    record = recorded(TABLE, "v1", {FOLDER: "f1"}, settings={"student": {"rank": 8}})
    lake.write_record(record)
    assert Lake(str(lake.root)).record(TABLE) == record
    assert list(everything(lake)) == [f"{TABLE.folder}/{RECORD}"]


def test_a_table_beside_an_asset_exists_with_the_assets_record(lake):
    lake.write_table(BESIDE, FRAME)
    assert not lake.exists(BESIDE)
    version = write_folder(lake, a="1")
    assert lake.exists(BESIDE)
    assert lake.record(BESIDE) == lake.record(FOLDER)
    assert lake.read_table(BESIDE).equals(FRAME), "whose version is not the asset's"
    assert lake.reads == {BESIDE: frame_digest(FRAME)} != {BESIDE: version}
    lake.forget_record(FOLDER)
    assert not lake.exists(BESIDE)


def test_a_forgotten_record_leaves_the_data_alone(lake):
    lake.forget_record(TABLE)
    lake.write_table(TABLE, FRAME)
    before = everything(lake)
    write_record(lake, TABLE, frame_digest(FRAME))
    assert everything(lake) != before
    lake.forget_record(TABLE)
    lake.forget_record(TABLE)
    assert not lake.exists(TABLE)
    assert lake.record(TABLE) is None
    emptied = str((lake.path(TABLE) / RECORD).relative_to(lake.root))
    assert everything(lake) == before | {emptied: b""}, "for whoever has listed it and is about to open it"


REPLACED: dict[Place, Callable[[Lake], str]] = {
    TABLE: lambda lake: step(lake, TABLE).write(pl.DataFrame(schema=TABLES["evaluation"].schema)),
    FOLDER: lambda lake: step(lake, FOLDER).write(pl.DataFrame(schema=TABLES["training"].schema), "training"),
    PICTURE: lambda lake: step(lake, PICTURE).write_picture(b"another"),
}


@pytest.mark.parametrize("place", REPLACED, ids=str)
def test_a_record_is_forgotten_before_its_data_are_replaced(lake, place, monkeypatch):
    write_record(lake, place, PUT[place](lake))
    move, seen = os.replace, []

    def look(made, path):
        seen.append((Path(path).name == RECORD, Lake(str(lake.root)).exists(place)))
        move(made, path)

    monkeypatch.setattr(os, "replace", look)
    REPLACED[place](lake)
    assert seen == [(True, True), (False, False)]
    assert not lake.exists(place), "until what replaces it is recorded"


def test_picture_comes_back_as_it_was(lake):
    version = lake.write_picture(PICTURE, b"png")
    assert version == bytes_digest(b"png")
    assert lake.picture(PICTURE) == lake.root / "experiment=exp/preference_chart/preference_chart.png"
    assert lake.picture(PICTURE).read_bytes() == b"png"


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b"{}", b"null", b"\xff\xfe", b'{"asset": "evaluation"}'])
def test_a_record_that_cannot_be_understood_is_one_line_that_names_it(lake, content):
    write_table(lake, TABLE, FRAME)
    record = lake.path(TABLE) / RECORD
    record.write_bytes(content)
    for ask in (lake.record, lake.version, lake.read_table):
        with pytest.raises(LakeError) as error:
            ask(TABLE)
        assert one_line(error).startswith(f"{record}: no record that this version can read")
        assert one_line(error).endswith("delete it to make it anew")


def test_a_record_that_cannot_be_read_is_one_line_that_names_it(lake):
    (Path(lake.path(TABLE)) / RECORD).mkdir(parents=True)
    with pytest.raises(LakeError) as error:
        lake.record(TABLE)
    assert one_line(error).startswith(f"cannot read {lake.path(TABLE) / RECORD}: ")
    assert "SL_DATA_LAKE" in one_line(error)


def test_missing_table_says_what_to_do(lake):
    with pytest.raises(AbsentError) as error:
        lake.read_table(TABLE)
    message = one_line(error)
    assert message == f"exp/evaluation of cat is not in {lake.root}: materialise it first"


def test_missing_folder_and_version_say_what_to_do(lake):
    with (
        pytest.raises(AbsentError, match=r"exp/lora_checkpoint of cat is not in .*: materialise it first"),
        lake.folder(FOLDER),
    ):
        pass
    with pytest.raises(AbsentError, match="materialise it first"):
        lake.version(FOLDER)


def cut(table: Path) -> None:
    table.write_bytes(table.read_bytes()[:-20])


def empty(table: Path) -> None:
    table.write_bytes(b"")


def scribble(table: Path) -> None:
    content = table.read_bytes()
    table.write_bytes(content[:4] + bytes(40) + content[44:])


def write_elsewhere(table: Path) -> None:
    pl.read_parquet(table).write_parquet(table)


@pytest.mark.parametrize("harm", [cut, empty, scribble, write_elsewhere, Path.unlink])
def test_damaged_table_is_absent_and_named(lake, harm):
    write_table(lake, TABLE, FRAME)
    harm(Path(lake.path(TABLE)) / DATA)
    with pytest.raises(AbsentError) as error:
        lake.read_table(TABLE)
    message = one_line(error)
    assert message.startswith(f"exp/evaluation of cat is damaged ({lake.path(TABLE) / DATA}: ")
    assert message.endswith("materialise it again")
    assert lake.reads == {}
    assert not lake.exists(TABLE), "so the next run makes it again"


def harm_noted(lake: Lake, harm: Callable[[Path], None]) -> str:
    """A table that is recorded as a run does is harmed; what a reader is told."""
    version = lake.write_table(TABLE, FRAME, part_of=TABLE)
    write_record(lake, TABLE, version)
    harm(Path(lake.path(TABLE)) / DATA)
    with pytest.raises(AbsentError) as error:
        lake.read_table(TABLE)
    assert not lake.exists(TABLE)
    return one_line(error)


def test_no_flipped_bit_of_a_table_is_read_as_data(lake):
    content = parquet_bytes(FRAME, {VERSION_KEY: frame_digest(FRAME)})
    for place in range(0, len(content), 7):

        def flip(table: Path, place: int = place) -> None:
            table.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])

        line = harm_noted(lake, flip)
        assert line.startswith(f"exp/evaluation of cat is damaged ({lake.path(TABLE) / DATA}: SHA-256 ")
        assert line.endswith("materialise it again")


def test_a_table_that_is_cut_is_told_by_its_size(lake):
    size = len(parquet_bytes(FRAME, {VERSION_KEY: frame_digest(FRAME)}))
    assert f"{size - 20:,} bytes, and its record tells of {size:,})" in harm_noted(lake, cut)


def test_a_table_beside_an_asset_is_as_well_known(lake):
    lake.write_table(BESIDE, FRAME, part_of=FOLDER)
    write_folder(lake, a="1")
    for harm in (scribble, Path.unlink):
        harm(Path(lake.path(BESIDE)) / DATA)
        with pytest.raises(AbsentError, match="exp/training of cat is damaged"):
            lake.read_table(BESIDE)
        assert not lake.exists(FOLDER)
        write_record(lake, FOLDER, "v2")


def test_other_sizes_are_seen_without_reading(lake):
    lake.write_table(BESIDE, FRAME, part_of=FOLDER)
    write_folder(lake, a="1")
    record = lake.record(FOLDER)
    assert record
    assert list(lake.wrong_sizes(record)) == []
    table = Path(lake.path(BESIDE)) / DATA
    cut(table)
    assert [line.partition(": ")[0] for line in lake.wrong_sizes(record)] == [str(table)]
    table.unlink()
    assert list(lake.wrong_sizes(record)) == [], "for a copy of results may lack it"


def test_a_table_that_is_not_what_is_recorded_is_absent(lake):
    write_table(lake, TABLE, FRAME)
    lake.write_table(TABLE, FRAME[:1])
    with pytest.raises(AbsentError) as error:
        lake.read_table(TABLE)
    assert one_line(error) == "exp/evaluation of cat is not what its record tells of: materialise it again"
    assert lake.reads == {}
    assert not lake.exists(TABLE)


def test_a_table_that_is_made_anew_while_it_is_read_is_read_anew(lake, monkeypatch):
    write_table(lake, TABLE, FRAME)
    record = lake.record

    def replaced_meanwhile(place):
        monkeypatch.setattr(lake, "record", record)
        write_table(lake, TABLE, FRAME[:1])
        return record(place)

    monkeypatch.setattr(lake, "record", replaced_meanwhile)
    assert lake.read_table(TABLE).equals(FRAME[:1])
    assert lake.reads == {TABLE: frame_digest(FRAME[:1])}


def test_a_table_beside_an_asset_that_was_never_made_harms_nothing(lake):
    """A newer version writes it, and what was made before is as whole as it was."""
    write_folder(lake, a="1")
    with pytest.raises(AbsentError, match="exp/training of cat is not in"):
        lake.read_table(BESIDE)
    assert lake.record(FOLDER)


def test_damage_of_a_table_beside_an_asset_is_damage_of_the_asset(lake):
    lake.write_table(BESIDE, FRAME)
    write_folder(lake, a="1")
    cut(Path(lake.path(BESIDE)) / DATA)
    with pytest.raises(AbsentError, match="exp/training of cat is damaged"):
        lake.read_table(BESIDE)
    assert not lake.exists(FOLDER)


def test_what_was_made_anew_when_it_was_found_damaged_keeps_its_record(lake, monkeypatch):
    write_table(lake, TABLE, FRAME)
    cut(Path(lake.path(TABLE)) / DATA)
    looks = iter([lambda: None, lambda: write_table(lake, TABLE, FRAME[:1])])
    table = lake._table

    def mended_meanwhile(place):
        try:
            return table(place)
        finally:
            next(looks)()

    monkeypatch.setattr(lake, "_table", mended_meanwhile)
    with pytest.raises(AbsentError, match="is damaged"):
        lake.read_table(TABLE)
    assert lake.version(TABLE) == frame_digest(FRAME[:1])


def test_damage_is_named_in_a_lake_that_cannot_be_written(lake, monkeypatch):
    write_table(lake, TABLE, FRAME)
    cut(Path(lake.path(TABLE)) / DATA)

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(AbsentError, match="is damaged"):
        lake.read_table(TABLE)
    assert lake.exists(TABLE)


def test_a_disk_that_cannot_be_read_is_no_damage(lake, monkeypatch):
    write_table(lake, TABLE, FRAME)

    def broken(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(LocalFileSystem, "cat_file", broken)
        with pytest.raises(LakeError, match="input/output error") as error:
            lake.read_table(TABLE)
    assert not isinstance(error.value, AbsentError)
    assert lake.exists(TABLE)


def test_experiments_are_listed_whatever_the_root_is_called(tmp_path):
    """A name of a folder is no pattern, and the schema of the views is no experiment."""
    lake = Lake(str(tmp_path / "a[b]c"))
    assert lake.experiments() == []
    for name in ("two", "one", "_schema"):
        lake.write_table(Place(name, "transfer"), FRAME)
    assert lake.experiments() == ["one", "two"]
