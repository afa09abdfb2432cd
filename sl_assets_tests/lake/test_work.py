"""Work in progress that survives an interruption."""

from pathlib import Path

import polars as pl
import pytest

from sl_assets.errors import AbsentError
from sl_assets.lake.fingerprint import folder_digest
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.work import CHECKED, Work

PIECE = pl.DataFrame({"text": ["1, 2", "ä\n"], "n_tokens": [3, None]})
CAT, OWL = Place("exp", "raw_dataset", "cat"), Place("exp", "raw_dataset", "owl")
FINGERPRINT = (42, 1.0, None, [[{"role": "user", "content": "Go on"}]])


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def work(lake):
    return Work(lake, CAT)


def test_nothing_is_there_at_first(work):
    assert work.load("numbers/cat-00000", *FINGERPRINT) is None
    assert work.load_bytes("job.json", *FINGERPRINT) is None


def test_piece_comes_back_in_another_process_of_the_same_lake(lake, work):
    work.save("numbers/cat-00000", PIECE, *FINGERPRINT)
    assert Work(Lake(str(lake.root)), CAT).load("numbers/cat-00000", *FINGERPRINT).equals(PIECE)


@pytest.mark.parametrize(
    "changed",
    [
        (43, *FINGERPRINT[1:]),
        (42, 0.5, *FINGERPRINT[2:]),
        (42, 1.0, "adapter", FINGERPRINT[3]),
        (*FINGERPRINT[:3], [[{"role": "user", "content": "Stop"}]]),
        FINGERPRINT[:3],
    ],
    ids=["seed", "temperature", "adapter", "prompt", "fewer"],
)
def test_changed_fingerprint_finds_no_old_piece(work, changed):
    work.save("piece", PIECE, *FINGERPRINT)
    assert work.load("piece", *changed) is None
    assert work.load("piece", *FINGERPRINT) is not None


def test_pieces_of_two_fingerprints_live_side_by_side(work):
    work.save("piece", PIECE, 1)
    work.save("piece", PIECE[:1], 2)
    assert (work.load("piece", 1).height, work.load("piece", 2).height) == (2, 1)


def test_pieces_are_known_by_name_and_partition(lake, work):
    work.save("piece", PIECE, 1)
    assert work.load("other", 1) is None
    assert Work(lake, OWL).load("piece", 1) is None


def test_pieces_made_by_other_code_or_settings_are_not_found(lake):
    one, other = Work(lake, CAT, "1.aaaa"), Work(lake, CAT, "1.bbbb")
    one.save("piece", PIECE, *FINGERPRINT)
    assert other.load("piece", *FINGERPRINT) is None
    assert Work(lake, CAT).load("piece", *FINGERPRINT) is None
    assert Work(lake, CAT, "1.aaaa").load("piece", *FINGERPRINT).equals(PIECE)
    other.clear()
    assert one.load("piece", *FINGERPRINT) is None, "whoever records the partition, no piece of it is needed"


def test_a_piece_need_be_no_table(lake, work):
    work.save_bytes("job.json", b'{"job": 1}', *FINGERPRINT)
    assert Work(lake, CAT).load_bytes("job.json", *FINGERPRINT) == b'{"job": 1}'
    assert Work(lake, OWL).load_bytes("job.json", *FINGERPRINT) is None


def test_clear_forgets_this_partition_alone(lake, work):
    other = Work(lake, OWL)
    for some in (work, other):
        some.save("numbers/piece", PIECE, 1)
        some.save_bytes("job.json", b"{}", 1)
    work.clear()
    assert work.load("numbers/piece", 1) is None
    assert work.load_bytes("job.json", 1) is None
    assert other.load("numbers/piece", 1).equals(PIECE)
    assert other.load_bytes("job.json", 1) == b"{}"


def test_clear_without_work_and_twice(work):
    work.clear()
    work.save("piece", PIECE, 1)
    work.clear()
    work.clear()
    assert work.load("piece", 1) is None


def flip(file: Path, place: int) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("place", [0, 10, 60, -60])
def test_a_piece_with_one_bit_flipped_is_made_again(lake, work, place):
    work.save("piece", PIECE, 1)
    work.save_bytes("states", bytes(100), 1)
    for file in (lake.root / ".work").rglob("*"):
        if file.is_file():
            flip(Path(file), place)
    assert work.load("piece", 1) is None
    assert work.load_bytes("states", 1) is None


def test_pieces_that_were_kept_before_there_were_checksums_are_taken(lake, work):
    work.save("piece", PIECE, 1)
    work.save_bytes("job.json", b'{"id": 3}', 1)
    for file in map(Path, (lake.root / ".work").rglob("*.*")):
        file.write_bytes(file.read_bytes()[len(CHECKED) + 32 :])
    assert work.load("piece", 1).equals(PIECE)
    assert work.load_bytes("job.json", 1) == b'{"id": 3}'


def test_work_is_no_table_of_the_lake(lake, work):
    work.save("data", PIECE, 1)
    work.save_bytes("record.json", b"{}")
    assert not lake.exists(CAT)
    assert not lake.path(CAT).exists()
    with pytest.raises(AbsentError):
        lake.read_table(CAT)


@pytest.fixture
def student(tmp_path):
    """A folder with folders in it."""
    (tmp_path / "student" / "epoch=2").mkdir(parents=True)
    (tmp_path / "student" / "epoch=2" / "weights").write_bytes(b"abc")
    (tmp_path / "student" / "curve.json").write_text("{}")
    return tmp_path / "student"


def test_a_folder_comes_back_as_it_was_and_stays_where_it_is(lake, work, student, tmp_path):
    work.save_folder("seed-2", student, 2)
    again = Work(Lake(str(lake.root)), CAT)
    assert again.load_folder("seed-2", tmp_path / "taken", 2)
    assert folder_digest(tmp_path / "taken") == folder_digest(student)
    assert not again.load_folder("seed-2", tmp_path / "other", 3)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_damaged_or_not_whole_is_not_taken(lake, work, student, tmp_path):
    work.save_folder("seed-2", student, 2)
    (weights,) = (lake.root / ".work").rglob("weights")
    # A link of the same file would be harmed as well.
    weights.unlink()
    weights.write_bytes(b"ab")
    assert not work.load_folder("seed-2", tmp_path / "taken", 2)
    weights.write_bytes(b"abc")
    (manifest,) = (lake.root / ".work").rglob("manifest.json")
    manifest.unlink()
    assert not work.load_folder("seed-2", tmp_path / "taken", 2)
    assert not (tmp_path / "taken").exists()
    work.save_folder("seed-2", student, 2)
    assert work.load_folder("seed-2", tmp_path / "taken", 2)


def test_folders_are_cleared_with_all_else(lake, work, student, tmp_path):
    work.save_folder("seed-2", student, 2)
    work.clear()
    assert not work.load_folder("seed-2", tmp_path / "taken", 2)
    assert (student / "epoch=2" / "weights").read_bytes() == b"abc"
