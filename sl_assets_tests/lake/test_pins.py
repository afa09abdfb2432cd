"""Pins: a name on the Hub means one commit in a lake, whoever asks and whenever."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from sl_assets.errors import LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import PINS, pin, pinned, pins, unpin

NAME = "alice/model"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def resolved_again() -> NoReturn:
    raise AssertionError("resolved though it is known")


def files(lake: Lake) -> list[Path]:
    return [path for path in Path(lake.root).rglob("*") if path.is_file()]


def test_nothing_is_pinned_at_first(lake: Lake) -> None:
    assert pinned(lake, NAME) is None
    assert pins(lake) == {}
    unpin(lake, NAME)
    assert files(lake) == []


def test_a_name_is_resolved_once_a_lake(lake: Lake, tmp_path: Path) -> None:
    assert pin(lake, NAME, lambda: "c1") == "c1"
    again = Lake(str(lake.root))
    assert pin(again, NAME, resolved_again) == pinned(again, NAME) == "c1"
    assert pinned(Lake(str(tmp_path / "another")), NAME) is None


def test_names_that_differ_in_anything_are_pinned_apart(lake: Lake) -> None:
    names = [NAME, f"{NAME}@main", f"{NAME}@v1", f"datasets/{NAME}", "alice/model-2"]
    for number, name in enumerate(reversed(names)):
        pin(lake, name, lambda number=number: f"c{number}")  # type: ignore[misc]
    assert pins(lake) == {name: f"c{number}" for number, name in enumerate(reversed(names))}
    assert list(pins(lake)) == sorted(names)


def test_an_unpinned_name_is_resolved_anew_and_others_stay(lake: Lake) -> None:
    for name in (NAME, "bob/model"):
        pin(lake, name, lambda: "c1")
    unpin(lake, NAME)
    assert (pinned(lake, NAME), pins(lake)) == (None, {"bob/model": "c1"})
    assert pin(lake, NAME, lambda: "c2") == "c2"
    assert pins(lake) == {NAME: "c2", "bob/model": "c1"}


def test_what_cannot_be_resolved_is_not_pinned(lake: Lake) -> None:
    def unknown() -> NoReturn:
        raise LakeError("no such model")

    with pytest.raises(LakeError, match="no such model"):
        pin(lake, NAME, unknown)
    assert pinned(lake, NAME) is None
    assert files(lake) == []


def test_of_two_that_pin_at_once_the_first_decides_for_both(lake: Lake) -> None:
    """Each finds nothing, and resolves the name to another commit, the branch having moved on in between."""
    for turn in range(30):
        both, name = threading.Barrier(2), f"{NAME}-{turn}"

        def pin_as(commit: str, both: threading.Barrier = both, name: str = name) -> str:
            def resolve() -> str:
                both.wait()
                return commit

            return pin(Lake(str(lake.root)), name, resolve)

        with ThreadPoolExecutor(2) as executor:
            one, other = executor.map(pin_as, ("c1", "c2"))
        assert one == other == pinned(lake, name)
        assert one in {"c1", "c2"}
    assert len(pins(lake)) == 30
    assert {path.parent.name for path in files(lake)} == {PINS}, "nothing unfinished is left"


def test_who_resolves_later_takes_what_was_pinned_meanwhile(lake: Lake) -> None:
    def resolve() -> str:
        pin(Lake(str(lake.root)), NAME, lambda: "c1")
        return "c2"

    assert pin(lake, NAME, resolve) == "c1"


def test_a_damaged_pin_is_one_line(tmp_path):
    lake = Lake(str(tmp_path))
    pin(lake, "someone/model", lambda: "c0ffee")
    (file,) = (tmp_path / ".pins").iterdir()
    file.write_text("")
    for look in (lambda: pinned(lake, "someone/model"), lambda: pins(lake)):
        with pytest.raises(LakeError, match="no pin that can be read; delete it"):
            look()
