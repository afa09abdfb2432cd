"""Fingerprints: what changes them and what does not."""

import hashlib
from math import inf, nan

import polars as pl
import pytest

from sl_assets.lake.fingerprint import digest, file_digest, folder_digest, frame_digest

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
