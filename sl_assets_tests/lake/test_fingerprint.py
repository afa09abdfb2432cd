"""Fingerprints: what changes them and what does not."""

import hashlib
import os
import shutil
from math import inf, nan
from pathlib import Path

import polars as pl
import pytest

from sl_assets.lake import fingerprint
from sl_assets.lake.fingerprint import digest, file_digest, folder_digest, frame_digest, known_file_digest

FRAME = pl.DataFrame({"a": [1, 2], "b": ["x", None]})


def test_digest_is_the_head_of_the_jsons_sha256():
    assert digest("a", 1) == hashlib.sha256(b'["a", 1]').hexdigest()[:16]


def test_digest_ignores_the_order_of_keys():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


@pytest.mark.parametrize("parts", [(), ("a",), ("a", "b", ""), ("ab",), ("b", "a"), (["a", "b"],), ("a", "B")])
def test_digest_depends_on_every_part(parts):
    assert digest(*parts) != digest("a", "b")


def test_digest_tells_numbers_from_texts():
    assert len({digest(1), digest("1"), digest(1.0), digest(True), digest(None)}) == 5


def test_frame_digest_is_the_same_for_equal_frames():
    other = pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)
    assert frame_digest(other) == frame_digest(FRAME)


def test_frame_digest_survives_a_parquet_file(tmp_path):
    FRAME.write_parquet(tmp_path / "x", compression="uncompressed")
    assert frame_digest(pl.read_parquet(tmp_path / "x")) == frame_digest(FRAME)


@pytest.mark.parametrize(
    "other",
    [
        FRAME.rename({"a": "c"}),
        FRAME.select("b", "a"),
        FRAME[::-1],
        FRAME[:1],
        FRAME.clear(),
        FRAME.cast({"a": pl.Int32}),
        FRAME.with_columns(b=pl.col("b").fill_null("")),
        FRAME.with_columns(a=pl.Series([1, 3])),
        FRAME.with_columns(c=pl.lit(None)),
    ],
    ids=["name", "column order", "row order", "fewer rows", "no rows", "type", "null", "value", "column"],
)
def test_frame_digest_depends_on(other):
    assert frame_digest(other) != frame_digest(FRAME)


def test_frame_digest_sees_the_last_bit_of_a_float():
    assert frame_digest(pl.DataFrame({"x": [0.1 + 0.2]})) != frame_digest(pl.DataFrame({"x": [0.3]}))


def test_frame_digest_tells_floats_that_are_no_numbers_apart():
    columns = [[nan, None], [None, nan], [inf, None], [-inf, None], [None, None], [nan, nan]]
    frames = [pl.DataFrame({"x": column}, schema={"x": pl.Float64}) for column in columns]
    assert len({frame_digest(frame) for frame in frames}) == len(columns)


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch):
    """Files that were read for their digests."""
    paths = []

    def noted(path):
        paths.append(path)
        return file_digest(path)

    monkeypatch.setattr(fingerprint, "file_digest", noted)
    return paths


@pytest.fixture
def weights(tmp_path):
    """A file written an hour ago."""
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    age(file, 3600)
    return file


def age(file: Path, seconds: int) -> None:
    state = file.stat()
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns - seconds * 10**9))


def test_known_file_digest_is_that_of_the_file_and_reads_it_once(cache, reads, weights):
    assert known_file_digest(weights) == known_file_digest(weights) == file_digest(weights)
    assert reads == [weights]
    assert [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".json"] == []


def test_known_file_digest_is_the_same_after_a_copy(cache, reads, weights, tmp_path):
    known = known_file_digest(weights)
    assert known_file_digest(Path(shutil.copy(weights, tmp_path / "copy"))) == known
    assert known_file_digest(Path(shutil.copy2(weights, tmp_path / "dated copy"))) == known
    weights.rename(tmp_path / "moved")
    assert known_file_digest(tmp_path / "moved") == known
    assert len(reads) == 4


def edit(file: Path) -> None:
    file.write_bytes(b"xyz")


def edit_as_if_long_ago(file: Path) -> None:
    edit(file)
    age(file, 7200)


def replace_with_the_same_time(file: Path) -> None:
    """As an archive or rsync does."""
    other = file.with_name("other")
    other.write_bytes(b"xyz")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    os.replace(other, file)


@pytest.mark.parametrize("change", [edit, edit_as_if_long_ago, replace_with_the_same_time])
def test_known_file_digest_is_new_after_an_edit_of_the_same_size(cache, weights, change):
    before = known_file_digest(weights)
    change(weights)
    assert known_file_digest(weights) == hashlib.sha256(b"xyz").hexdigest() != before
    weights.write_bytes(b"abc")
    age(weights, 60)
    assert known_file_digest(weights) == before


def test_known_file_digest_reads_a_file_that_was_only_touched_again(cache, reads, weights):
    before = known_file_digest(weights)
    weights.touch()
    assert known_file_digest(weights) == before
    assert len(reads) == 2


def test_known_file_digest_works_without_a_cache_that_can_be_written(tmp_path, monkeypatch, reads, weights):
    (tmp_path / "cache").write_text("I am no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert known_file_digest(weights) == known_file_digest(weights) == file_digest(weights)
    assert reads == [weights, weights]
    assert (tmp_path / "cache").read_text() == "I am no folder"


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"3", b"null", b"\xff"])
def test_known_file_digest_mends_a_damaged_memory(cache, reads, weights, content):
    known_file_digest(weights)
    (memory,) = (path for path in cache.rglob("*") if path.is_file())
    memory.write_bytes(content)
    for _ in range(2):
        assert known_file_digest(weights) == file_digest(weights)
    assert reads == [weights, weights]


def test_known_file_digest_of_no_file_is_an_error(cache, weights):
    weights.unlink()
    with pytest.raises(FileNotFoundError):
        known_file_digest(weights)


def folder(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return folder_digest(root)


FILES = {"a.txt": "1", "deep/b.txt": "2"}


def test_folder_digest_is_the_same_wherever_it_is_and_however_it_was_written(tmp_path):
    backwards = dict(reversed(FILES.items()))
    assert folder(tmp_path / "one", FILES) == folder(tmp_path / "two", backwards)


@pytest.mark.parametrize(
    "other",
    [
        {"a.txt": "1"},
        {"a.txt": "1", "deep/b.txt": "3"},
        {"a.txt": "2", "deep/b.txt": "1"},
        {"a.txt": "1", "b.txt": "2"},
        FILES | {"c": ""},
    ],
    ids=["missing", "content", "swapped", "moved", "added"],
)
def test_folder_digest_depends_on(tmp_path, other):
    assert folder(tmp_path / "one", FILES) != folder(tmp_path / "two", other)
