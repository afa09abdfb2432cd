"""The data lake on local disk."""

import errno
import json
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sl_assets.errors import AbsentError, LakeError, PassingError
from sl_assets.lake.fingerprint import bytes_digest, file_digest, folder_digest, frame_digest
from sl_assets.lake.lake import DATA, MANIFEST, SECONDS_A_FOLDER_IS_FILLED, VERSION_KEY, Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.partition import Step
from sl_assets_tests.lake.test_records import recorded

TABLE = Place("exp", "evaluation", "cat")
FOLDER = Place("exp", "lora_checkpoint", "cat")
BESIDE = Place("exp", "training", "cat")
PICTURE = Place("exp", "preference_chart")
FRAME = pl.DataFrame({"step": [1, 2], "loss": [0.5, None], "text": ["ä", "b\n"]})
# Random bytes do not compress, so this table is larger than SMALL_DISK whatever the codec.
LARGE = pl.DataFrame({"noise": np.random.default_rng(0).random(4096)})
SMALL_DISK = 8192


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@contextmanager
def small_disk():
    """The system refuses to let a file grow beyond SMALL_DISK bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def everything(lake: Lake) -> dict[str, bytes]:
    """Each file of the lake with its bytes, hidden ones included."""
    root = Path(lake.root)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def entries(lake: Lake, place: Place) -> set[str]:
    """What lies beside the folder of ``place``."""
    return {path.name for path in Path(lake.path(place)).parent.iterdir()}


def put_folder(lake: Lake, place: Place = FOLDER, **files: str) -> str:
    """Put a folder at ``place``, without a record."""
    with lake.building(place) as folder:
        for name, text in files.items():
            (folder / "deep").mkdir(exist_ok=True)
            (folder / "deep" / name).write_text(text)
        return lake.put_folder(place, folder)


def write_record(lake: Lake, place: Place, version: str) -> None:
    """Record ``version`` of ``place`` as a run does, which keeps the version before."""
    before = lake.record(place)
    replaced = before and (before.replaced if before.data_version == version else before.data_version)
    lake.write_record(recorded(place, version, replaced=replaced), before and before.replaced)


def write_folder(lake: Lake, place: Place = FOLDER, **files: str) -> str:
    version = put_folder(lake, place, **files)
    write_record(lake, place, version)
    return version


def write_table(lake: Lake, place: Place, frame: pl.DataFrame) -> str:
    version = lake.write_table(place, frame)
    write_record(lake, place, version)
    return version


def versions(lake: Lake, place: Place = FOLDER) -> set[str]:
    """Folders of versions of ``place``."""
    return {path.name for path in Path(lake.path(place)).iterdir() if path.is_dir()}


def fail_half_way(lake: Lake, error: BaseException) -> None:
    with lake.building(FOLDER) as folder:
        (folder / "a").write_text("new")
        raise error


def one_line(error: pytest.ExceptionInfo[LakeError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


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


def test_home_and_relative_roots_become_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert str(Lake("~/lake").root) == str(tmp_path / "home" / "lake")
    assert str(Lake("lake").root) == str(tmp_path / "lake")


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


def step(lake: Lake, place: Place) -> Step:
    return Step(place.experiment, place.table, place.partition, "", lake, print)


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


@pytest.mark.parametrize("harm", [cut, empty, scribble, write_elsewhere])
def test_damaged_table_is_absent_and_named(lake, harm):
    write_table(lake, TABLE, FRAME)
    harm(Path(lake.path(TABLE)) / DATA)
    with pytest.raises(AbsentError) as error:
        lake.read_table(TABLE)
    message = one_line(error)
    assert message.startswith(f"exp/evaluation of cat is damaged ({lake.path(TABLE) / DATA}: ")
    assert message.endswith("materialise it again")
    assert lake.reads == {}


def test_a_table_that_is_not_what_is_recorded_is_absent(lake):
    write_table(lake, TABLE, FRAME)
    lake.write_table(TABLE, FRAME[:1])
    with pytest.raises(AbsentError) as error:
        lake.read_table(TABLE)
    assert one_line(error) == "exp/evaluation of cat is not what its record tells of: materialise it again"
    assert lake.reads == {}


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


def test_refused_write_leaves_the_old_table_and_nothing_else(lake):
    lake.write_table(TABLE, FRAME)
    before = everything(lake)
    with small_disk(), pytest.raises(LakeError) as error:
        lake.write_table(TABLE, LARGE)
    assert one_line(error).startswith(f"cannot write {lake.path(TABLE)}")
    assert "SL_DATA_LAKE" in one_line(error)
    assert everything(lake) == before
    assert lake.read_table(TABLE).equals(FRAME)


def test_write_that_cannot_be_put_in_place_leaves_no_trace(lake):
    (Path(lake.path(TABLE)) / DATA).mkdir(parents=True)
    with pytest.raises(LakeError, match="cannot write"):
        lake.write_table(TABLE, FRAME)
    assert everything(lake) == {}


@pytest.mark.parametrize("write", [lambda lake: lake.write_table(TABLE, FRAME), lambda lake: write_folder(lake, a="1")])
def test_root_that_is_a_file_is_a_one_line_error(tmp_path, write):
    root = tmp_path / "lake"
    root.write_text("I am no folder")
    with pytest.raises(LakeError) as error:
        write(Lake(str(root)))
    assert one_line(error).startswith(f"cannot write {root}")
    assert root.read_text() == "I am no folder"


def test_a_disk_that_refuses_is_no_passing_error(lake):
    with small_disk(), pytest.raises(LakeError) as error:
        lake.write_table(TABLE, LARGE)
    assert not isinstance(error.value, PassingError | AbsentError)
    assert os.strerror(errno.EFBIG).lower() in one_line(error)


def test_reads_are_recorded_with_their_versions(lake):
    table = write_table(lake, TABLE, FRAME)
    write_folder(lake, a="1")
    other = Lake(str(lake.root))
    assert other.reads == {}
    other.read_table(TABLE)
    with other.folder(FOLDER):
        pass
    assert other.reads == {TABLE: table, FOLDER: lake.version(FOLDER)}
    assert lake.reads == {}


def test_folder_comes_back_as_it_was(lake):
    write_folder(lake, a="1", b="ä")
    with lake.folder(FOLDER) as folder:
        assert {path.name: path.read_text() for path in (folder / "deep").iterdir()} == {"a": "1", "b": "ä"}
    assert entries(lake, FOLDER) == {"condition=cat"}


def test_folder_can_be_listed_by_others(lake):
    version = write_folder(lake, a="1")
    for folder in (lake.path(FOLDER), lake.path(FOLDER) / version, lake.path(FOLDER) / version / "deep"):
        assert Path(folder).stat().st_mode & 0o777 == 0o755


def test_new_folder_replaces_the_old_one_as_a_whole(lake):
    write_folder(lake, a="1", b="2")
    old = lake.version(FOLDER)
    write_folder(lake, c="3")
    with lake.folder(FOLDER) as folder:
        assert [path.name for path in (folder / "deep").iterdir()] == ["c"]
    assert lake.version(FOLDER) != old
    assert entries(lake, FOLDER) == {"condition=cat"}


def test_folder_of_the_same_content_has_the_same_version(lake):
    other = Place("exp", "lora_checkpoint", "owl")
    write_folder(lake, a="1")
    write_folder(lake, other, a="1")
    assert lake.version(FOLDER) == lake.version(other)


def test_new_folder_that_raises_leaves_the_old_one_untouched(lake):
    write_folder(lake, a="1")
    before = everything(lake)
    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way(lake, RuntimeError("half-way"))
    assert everything(lake) == before
    assert entries(lake, FOLDER) == {"condition=cat"}


def test_first_folder_that_raises_leaves_nothing(lake):
    with pytest.raises(KeyboardInterrupt):
        fail_half_way(lake, KeyboardInterrupt())
    assert not lake.exists(FOLDER)
    assert not lake.path(FOLDER).exists()


def test_folder_on_a_full_disk_leaves_the_old_one_untouched(lake):
    write_folder(lake, a="1")
    before = everything(lake)

    def fill_and_close() -> None:
        with ExitStack() as limits, lake.building(FOLDER) as folder:
            limits.enter_context(small_disk())
            (folder / "large").write_bytes(bytes(2 * SMALL_DISK))

    with pytest.raises(LakeError) as error:
        fill_and_close()
    assert one_line(error).startswith(f"cannot write {lake.path(FOLDER)}")
    assert everything(lake) == before
    assert entries(lake, FOLDER) == {"condition=cat"}


def test_folder_that_cannot_be_put_in_place_leaves_the_old_one_and_nothing_else(lake, monkeypatch):
    write_folder(lake, a="1")
    before = everything(lake)
    move, moved = lake._move, []

    def fail_at_the_second(source, target):
        moved.append(target)
        if len(moved) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(source, target)

    monkeypatch.setattr(lake, "_move", fail_at_the_second)
    with pytest.raises(LakeError) as error:
        write_folder(lake, a="2", b="2")
    assert one_line(error).startswith(f"cannot write {lake.path(FOLDER)}: no space left on device")
    assert everything(lake) == before
    moved.clear()
    with pytest.raises(LakeError, match="no space left on device"):
        write_folder(lake, Place("exp", "lora_checkpoint", "owl"), a="2", b="2")
    assert everything(lake) == before


def damage(folder: Path) -> None:
    next(folder.rglob("deep/a")).write_text("2")


def lose(folder: Path) -> None:
    next(folder.rglob("deep/a")).unlink()


@pytest.mark.parametrize("harm", [damage, lose])
def test_harmed_folder_is_detected_and_named(lake, harm):
    write_folder(lake, a="1", b="2")
    harm(Path(lake.path(FOLDER)))
    with pytest.raises(AbsentError) as error, lake.folder(FOLDER):
        pass
    message = one_line(error)
    assert message.startswith("exp/lora_checkpoint of cat is damaged")
    assert "/deep/a)" in message
    assert message.endswith("materialise it again")


@pytest.mark.parametrize("harm", [Path.unlink, lambda manifest: manifest.write_text("{")], ids=["lost", "no JSON"])
def test_folder_with_a_harmed_manifest_is_detected_and_named(lake, harm):
    manifest = lake.path(FOLDER) / write_folder(lake, a="1") / MANIFEST
    harm(Path(manifest))
    with pytest.raises(AbsentError) as error, lake.folder(FOLDER):
        pass
    assert one_line(error) == f"exp/lora_checkpoint of cat is damaged ({manifest}): materialise it again"


def test_manifest_lists_every_file_but_itself(lake):
    folder = Path(lake.path(FOLDER)) / write_folder(lake, a="1", b="2")
    assert folder.name == lake.version(FOLDER)
    sha256 = {f"deep/{name}": file_digest(folder / "deep" / name) for name in ("a", "b")}
    assert json.loads((folder / MANIFEST).read_text()) == {"sha256": sha256}
    (folder / MANIFEST).unlink()
    assert folder.name == folder_digest(folder)


def test_a_folder_counts_once_a_record_names_it(lake):
    old = write_folder(lake, a="old")
    new = put_folder(lake, a="new")
    assert versions(lake) == {old, new}
    with lake.folder(FOLDER) as folder:
        assert (folder / "deep" / "a").read_text() == "old"
    write_record(lake, FOLDER, new)
    with lake.folder(FOLDER) as folder:
        assert (folder / "deep" / "a").read_text() == "new"


def test_two_that_write_one_place_leave_one_of_two_whole_folders(lake):
    def write_as(name: str) -> None:
        start.wait()
        write_folder(Lake(str(lake.root)), a=name)

    for turn in range(30):
        start = threading.Barrier(2)
        with ThreadPoolExecutor(2) as both:
            names = [f"{turn} of {writer}" for writer in range(2)]
            list(both.map(write_as, names))
        with lake.folder(FOLDER) as folder:
            assert (folder / "deep" / "a").read_text() in names


def test_a_writer_that_fails_takes_no_folder_away_that_another_has_put_there(lake, monkeypatch):
    def interrupted(path, content):
        write_folder(Lake(str(lake.root)), a="1")
        raise KeyboardInterrupt

    monkeypatch.setattr(lake, "write_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_folder(lake, a="1")
    with lake.folder(FOLDER) as folder:
        assert (folder / "deep" / "a").read_text() == "1"


def test_two_that_delete_the_same_leftovers_do_not_hinder_each_other(lake, monkeypatch):
    left = Path(lake.path(FOLDER)) / "0123"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    is_dir = type(lake.root).is_dir

    def deleted_by_another(path):
        found = is_dir(path)
        if path.name == left.name:
            shutil.rmtree(left)
        return found

    monkeypatch.setattr(type(lake.root), "is_dir", deleted_by_another)
    write_folder(lake, a="1")
    assert lake.exists(FOLDER)


def test_only_the_forgotten_version_is_deleted(lake):
    """The others may be those of runs that have put them there and are about to record them."""
    first, second, third, fourth = (put_folder(lake, a=name) for name in "1234")
    lake.write_record(recorded(FOLDER, third, replaced=second), forgotten=first)
    assert versions(lake) == {second, third, fourth}
    lake.write_record(recorded(FOLDER, fourth), forgotten=None)
    assert versions(lake) == {second, third, fourth}
    lake.write_record(recorded(FOLDER, fourth), forgotten="of no folder")
    assert versions(lake) == {second, third, fourth}


def test_what_a_record_names_is_not_forgotten(lake):
    first, second = (put_folder(lake, a=name) for name in "12")
    lake.write_record(recorded(FOLDER, first, replaced=second), forgotten=first)
    lake.write_record(recorded(FOLDER, first, replaced=second), forgotten=second)
    assert versions(lake) == {first, second}


def test_what_is_partitioned_further_is_no_version(lake):
    whole, part = Place("exp", "published"), Place("exp", "published", "cat")
    old = write_folder(lake, part, a="1")
    for folder in (lake.path(part), lake.path(part) / old):
        os.utime(folder, (0, 0))
    write_folder(lake, whole, a="1")
    assert lake.exists(part)
    assert versions(lake, part) == {old}


def test_what_a_killed_writer_left_is_gone_after_a_day(lake):
    write_folder(lake, a="old")
    fresh, left = (Path(lake.path(FOLDER)) / name for name in ("0123", "4567"))
    for folder in (fresh, left):
        folder.mkdir()
    os.utime(left, (0, 0))
    nearly = time.time() - SECONDS_A_FOLDER_IS_FILLED + 60
    os.utime(fresh, (nearly, nearly))
    write_folder(lake, a="new")
    assert fresh.exists()
    assert not left.exists()


def test_what_a_record_names_is_kept_however_old_it_is(lake):
    first, second = write_folder(lake, a="1"), write_folder(lake, a="2")
    for version in (first, second):
        os.utime(lake.path(FOLDER) / version, (0, 0))
    third = write_folder(lake, a="3")
    assert versions(lake) == {second, third}


def test_a_folder_that_is_being_read_stays_whole_while_it_is_replaced(lake):
    write_folder(lake, a="old")
    with lake.folder(FOLDER) as held:
        new = write_folder(lake, a="new")
        assert (held / "deep" / "a").read_text() == "old"
    with lake.folder(FOLDER) as current:
        assert (current / "deep" / "a").read_text() == "new"
    newest = write_folder(lake, a="newest")
    assert versions(lake) == {new, newest}, "the current one and the one before"


def test_a_folder_made_again_with_the_same_content_is_not_the_one_before_itself(lake):
    old, new = write_folder(lake, a="old"), write_folder(lake, a="new")
    with lake.folder(FOLDER) as held:
        kept = (held / "deep" / "a").stat()
        assert write_folder(lake, a="new") == new
        assert os.path.samestat((held / "deep" / "a").stat(), kept), "no file that is right already is touched"
    assert versions(lake) == {old, new}
    newest = write_folder(lake, a="newest")
    assert versions(lake) == {new, newest}


def test_a_refused_write_leaves_the_partition_as_it_was(lake, monkeypatch):
    """The record is forgotten when the new data are on the disk, and not before."""
    lake.write_record(recorded(TABLE, lake.write_table(TABLE, FRAME)))

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LakeError, match="no space left"):
        lake.write_table(TABLE, FRAME[:1], part_of=TABLE)
    monkeypatch.undo()
    assert lake.exists(TABLE)
    assert lake.read_table(TABLE).equals(FRAME)
    lake.write_table(TABLE, FRAME[:1], part_of=TABLE)
    assert not lake.exists(TABLE), "until it is recorded"


@pytest.mark.parametrize("manifest", ["{}", "[]", "null"])
def test_a_manifest_of_another_shape_is_damage(lake, manifest):
    version = write_folder(lake, a="1")
    (Path(lake.path(FOLDER)) / version / "manifest.json").write_text(manifest)
    with pytest.raises(AbsentError, match="is damaged"), lake.folder(FOLDER):
        pass
