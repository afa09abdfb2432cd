"""Folders with manifests: whole, checked, and replaced beside those that are read."""

import errno
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sl_assets.errors import AbsentError, LakeError
from sl_assets.lake import folders
from sl_assets.lake.fingerprint import file_digest, folder_digest
from sl_assets.lake.folders import MANIFEST, SECONDS_A_FOLDER_IS_FILLED
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets_tests.lake.filling import (
    FOLDER,
    FRAME,
    SMALL_DISK,
    TABLE,
    entries,
    everything,
    one_line,
    put_folder,
    small_disk,
    versions,
    write_folder,
    write_record,
    write_table,
)
from sl_assets_tests.lake.test_records import recorded


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def fail_half_way(lake: Lake, error: BaseException) -> None:
    with lake.building(FOLDER) as folder:
        (folder / "a").write_text("new")
        raise error


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


def write_bytes(file: Path) -> None:
    file.write_bytes(bytes(2 * SMALL_DISK))


def write_tensors(file: Path) -> None:
    """By a library that has errors of its own."""
    save_file({"weights": np.zeros(SMALL_DISK)}, file)


@pytest.mark.parametrize("write", [write_bytes, write_tensors])
def test_folder_on_a_full_disk_leaves_the_old_one_untouched(lake, write):
    write_folder(lake, a="1")
    before = everything(lake)

    def fill_and_close() -> None:
        with ExitStack() as limits, lake.building(FOLDER) as folder:
            limits.enter_context(small_disk())
            write(folder / "large")

    with pytest.raises(LakeError) as error:
        fill_and_close()
    assert one_line(error).startswith(f"cannot write {lake.path(FOLDER)}: file too large")
    assert everything(lake) == before
    assert entries(lake, FOLDER) == {"condition=cat"}


def test_folder_that_cannot_be_put_in_place_leaves_the_old_one_and_nothing_else(lake, monkeypatch):
    write_folder(lake, a="1")
    before = everything(lake)
    move, moved = lake.move, []

    def fail_at_the_second(source, target):
        moved.append(target)
        if len(moved) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(source, target)

    monkeypatch.setattr(lake, "move", fail_at_the_second)
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
    assert "/deep/a: " in message
    assert message.endswith("materialise it again")
    assert not lake.exists(FOLDER), "so the next run makes it again"
    assert lake.reads == {}


def vouch_for_another(manifest: Path) -> None:
    """As one flipped bit in it would, but so that the file beside it fits."""
    manifest.with_name("deep").joinpath("a").write_text("2")
    found = json.loads(manifest.read_text())
    found["sha256"]["deep/a"] = file_digest(manifest.parent / "deep" / "a")
    manifest.write_text(json.dumps(found))


@pytest.mark.parametrize(
    "harm",
    [Path.unlink, lambda manifest: manifest.write_text("{"), vouch_for_another],
    ids=["lost", "no JSON", "of other files"],
)
def test_folder_with_a_harmed_manifest_is_detected_and_named(lake, harm):
    manifest = lake.path(FOLDER) / write_folder(lake, a="1") / MANIFEST
    harm(Path(manifest))
    with pytest.raises(AbsentError) as error, lake.folder(FOLDER):
        pass
    assert one_line(error).startswith(f"exp/lora_checkpoint of cat is damaged ({manifest}: ")
    assert one_line(error).endswith("): materialise it again")
    assert not lake.exists(FOLDER)


def test_a_file_that_stays_what_it_is_is_read_once_a_process(lake, monkeypatch):
    write_folder(lake, a="1", b="2")
    files = sorted(Path(lake.path(FOLDER)).rglob("deep/*"))
    read: list[str] = []
    monkeypatch.setattr(folders, "file_digest", lambda path: read.append(path.name) or file_digest(path))
    for _ in range(2):
        with lake.folder(FOLDER):
            pass
    assert read == ["a", "b", "a", "b"], "which are as new as a coarse clock can tell"
    for file in files:
        os.utime(file, (1, 1))
    read.clear()
    for _ in range(3):
        with lake.folder(FOLDER):
            pass
    assert read == ["a", "b"]
    damage(Path(lake.path(FOLDER)))
    with pytest.raises(AbsentError, match="deep/a: SHA-256"), lake.folder(FOLDER):
        pass


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

    monkeypatch.setattr(lake, "put", interrupted)
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


@pytest.mark.parametrize("manifest", ["{}", "[]", "null"])
def test_a_manifest_of_another_shape_is_damage(lake, manifest):
    version = write_folder(lake, a="1")
    (Path(lake.path(FOLDER)) / version / "manifest.json").write_text(manifest)
    with pytest.raises(AbsentError, match="is damaged"), lake.folder(FOLDER):
        pass
