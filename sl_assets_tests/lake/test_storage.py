"""Files on a disk: whole or not at all, and what the disk refuses."""

import errno
import os
from pathlib import Path

import pytest

from sl_assets.errors import AbsentError, LakeError, PassingError
from sl_assets.lake.lake import Lake
from sl_assets.lake.parquet import DATA
from sl_assets_tests.lake.filling import (
    FRAME,
    LARGE,
    TABLE,
    everything,
    one_line,
    small_disk,
    write_folder,
)
from sl_assets_tests.lake.test_records import recorded


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def test_home_and_relative_roots_become_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert str(Lake("~/lake").root) == str(tmp_path / "home" / "lake")
    assert str(Lake("lake").root) == str(tmp_path / "lake")


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
