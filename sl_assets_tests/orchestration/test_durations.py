"""Durations and paces, from the fastest to the slowest."""

import pytest

from sl_assets.orchestration.durations import Remaining, duration, pace


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (12.4, "12 s"), (59.4, "59 s"), (59.6, "0:01:00"), (3723, "1:02:03"), (100_000, "27:46:40")],
)
def test_a_minute_and_more_is_told_in_hours_minutes_and_seconds(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("each", "words"),
    [(0.0005, "2,000/s"), (0.05, "20/s"), (0.4, "2.5/s"), (1.0, "1.0/s"), (2.5, "2.5 s each"), (90, "0:01:30 each")],
)
def test_what_is_slower_than_one_a_second_still_has_a_pace(each: float, words: str) -> None:
    assert pace(each) == words


def test_the_rest_is_told_by_the_pace_since_the_first_report() -> None:
    remaining = Remaining()
    assert remaining(1, 101, now=60) == "", "a minute of compiling is no pace"
    assert remaining(1, 101, now=70) == ""
    assert remaining(21, 101, now=80) == ", 1.0/s, 0:01:20 left"
    assert remaining(101, 101, now=160) == ", 1.0/s, 0 s left"


def test_work_that_an_earlier_run_had_kept_is_no_pace() -> None:
    remaining = Remaining()
    assert remaining(500, 1000, now=2) == ""
    assert remaining(510, 1000, now=12) == ", 1.0/s, 0:08:10 left"
