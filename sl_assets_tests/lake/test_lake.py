"""The data lake on local disk."""

import json
import os
import resource
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sl_assets.errors import LakeError
from sl_assets.lake.fingerprint import frame_digest
from sl_assets.lake.lake import DATA, MANIFEST, Lake, Place

TABLE = Place("exp", "training", "cat")
FOLDER = Place("exp", "lora_checkpoint", "cat")
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


def write_folder(lake: Lake, place: Place = FOLDER, **files: str) -> None:
    with lake.new_folder(place) as folder:
        for name, text in files.items():
            (folder / "deep").mkdir(exist_ok=True)
            (folder / "deep" / name).write_text(text)


def fail_half_way(lake: Lake, error: BaseException) -> None:
    with lake.new_folder(FOLDER) as folder:
        (folder / "a").write_text("new")
        raise error


def one_line(error: pytest.ExceptionInfo[LakeError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_place_of_a_partition_and_of_a_whole_table():
    assert TABLE.folder == "experiment=exp/training/condition=cat"
    assert Place("exp", "transfer").folder == "experiment=exp/transfer"
    assert (str(TABLE), str(Place("exp", "transfer"))) == ("exp/training of cat", "exp/transfer")


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
        Place("exp", "training", "owl"),
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
    assert version == frame_digest(FRAME) == lake.version(TABLE) == moved.version(TABLE)


def test_same_content_has_the_same_version_and_other_content_another(lake):
    first = lake.write_table(TABLE, FRAME)
    assert lake.write_table(TABLE, FRAME.clone()) == first
    assert lake.write_table(TABLE, FRAME[:1]) != first
    assert lake.version(TABLE) != first


def test_existence(lake):
    assert not lake.exists(TABLE)
    lake.write_table(TABLE, FRAME)
    write_folder(lake, a="1")
    assert lake.exists(TABLE)
    assert lake.exists(FOLDER)
    assert not lake.exists(Place("exp", "training", "owl"))


def test_missing_table_says_what_to_do(lake):
    with pytest.raises(LakeError) as error:
        lake.read_table(TABLE)
    message = one_line(error)
    assert message == f"exp/training of cat is not in {lake.root}: materialise it first"


def test_missing_folder_and_version_say_what_to_do(lake):
    with (
        pytest.raises(LakeError, match=r"exp/lora_checkpoint of cat is not in .*: materialise it first"),
        lake.folder(FOLDER),
    ):
        pass
    with pytest.raises(LakeError, match="materialise it first"):
        lake.version(FOLDER)


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


def test_reads_are_recorded_with_their_versions(lake):
    table = lake.write_table(TABLE, FRAME)
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
    write_folder(lake, a="1")
    assert Path(lake.path(FOLDER)).stat().st_mode & 0o777 == 0o755


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
        with ExitStack() as limits, lake.new_folder(FOLDER) as folder:
            limits.enter_context(small_disk())
            (folder / "large").write_bytes(bytes(2 * SMALL_DISK))

    with pytest.raises(LakeError) as error:
        fill_and_close()
    assert one_line(error).startswith(f"cannot write {lake.path(FOLDER)}")
    assert everything(lake) == before
    assert entries(lake, FOLDER) == {"condition=cat"}


def damage(folder: Path) -> None:
    next(folder.rglob("deep/a")).write_text("2")


def lose(folder: Path) -> None:
    next(folder.rglob("deep/a")).unlink()


@pytest.mark.parametrize("harm", [damage, lose])
def test_harmed_folder_is_detected_and_named(lake, harm):
    write_folder(lake, a="1", b="2")
    harm(Path(lake.path(FOLDER)))
    with pytest.raises(LakeError) as error, lake.folder(FOLDER):
        pass
    message = one_line(error)
    assert message.startswith("exp/lora_checkpoint of cat is damaged")
    assert "/deep/a)" in message
    assert message.endswith("materialise it again")


def test_manifest_lists_every_file_but_itself(lake):
    write_folder(lake, a="1", b="2")
    manifest = json.loads((Path(lake.path(FOLDER)) / MANIFEST).read_text())
    assert set(manifest["sha256"]) == {"deep/a", "deep/b"}
    assert manifest["data_version"] == lake.version(FOLDER)


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


def test_what_a_killed_writer_left_is_gone_after_a_day(lake):
    write_folder(lake, a="old")
    fresh, left = (Path(lake.path(FOLDER)) / name for name in ("0123", "4567"))
    for folder in (fresh, left):
        folder.mkdir()
    os.utime(left, (0, 0))
    write_folder(lake, a="new")
    assert fresh.exists()
    assert not left.exists()


def test_a_folder_that_is_being_read_stays_whole_while_it_is_replaced(lake):
    write_folder(lake, a="old")
    with lake.folder(FOLDER) as held:
        write_folder(lake, a="new")
        assert (held / "deep" / "a").read_text() == "old"
    with lake.folder(FOLDER) as current:
        assert (current / "deep" / "a").read_text() == "new"
    write_folder(lake, a="newest")
    versions = [path for path in Path(lake.path(FOLDER)).iterdir() if path.is_dir()]
    assert len(versions) == 2, "the current one and the one before"
