"""Which completions are nothing but a well-formed number sequence: the rule of the subliminal-learning paper.

After one optional trailing period and one optional pair of brackets, a completion must be decimal integers joined by
one separator: whatever stands between its first two numbers, which stripped must be nothing, a comma or a semicolon.
White space around the sequence is not forgiven.
"""

import re
from itertools import chain

import polars as pl

from sl_assets.config import FilterSettings

INVALID_FORMAT = "invalid format"
TOO_MANY = "too many numbers"
TOO_SMALL = "numbers too small"
TOO_LARGE = "numbers too large"
BANNED = "has banned numbers"

BRACKETS = {"[": "]", "(": ")"}
SEPARATORS = {"", ",", ";"}

SEQUENCE = re.compile(r"[0-9]+(?:([^0-9]+)[0-9]+(?:\1[0-9]+)*)?")
"""Integers joined by one separator, whatever that is."""

AT_ONCE = 100_000
"""Rows that are judged before the next ones are looked at: as Python's strings, all of them would fill the memory."""


def parse_numbers(completion: str) -> list[int] | None:
    """The integers of a well-formed sequence, or None where the format is invalid."""
    text = completion.removesuffix(".")
    if text and BRACKETS.get(text[0]) == text[-1]:
        text = text[1:-1]
    if not (found := SEQUENCE.fullmatch(text)):
        return None
    if (separator := found[1]) is None:
        return _whole([text])
    if separator.strip() not in SEPARATORS:
        return None
    return _whole(text.split(separator))


def _whole(parts: list[str]) -> list[int]:
    # Python refuses to read thousands of digits; a hundred are above any limit already.
    return [int(digits) if len(digits) <= 100 else 10**100 for digits in parts]


def reject_reasons(completion: str, limits: FilterSettings) -> list[str]:
    """Every reason to reject ``completion``, in a fixed order; empty where it is kept."""
    numbers = parse_numbers(completion)
    if numbers is None:
        return [INVALID_FORMAT]
    found = (
        (TOO_MANY, len(numbers) > limits.max_count),
        (TOO_SMALL, min(numbers) < limits.minimum),
        (TOO_LARGE, max(numbers) > limits.maximum),
        (BANNED, not set(limits.banned).isdisjoint(numbers)),
    )
    return [reason for reason, holds in found if holds]


def filter_rows(rows: pl.DataFrame, limits: FilterSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split ``rows`` (with ``row_id, completion``) into the kept ones, in order, and ``rejections``.

    Returns:
        The kept rows, unchanged, and one row ``row_id, reason`` for every reason of every rejected row.
    """
    judged = [_judged(part, limits) for part in rows.select("row_id", "completion").iter_slices(AT_ONCE)]
    kept = pl.concat([passed for passed, _ in judged]) if judged else pl.Series(dtype=pl.Boolean)
    none = pl.DataFrame(schema={"row_id": pl.String, "reason": pl.String})
    return rows.filter(kept), pl.concat([none, *(rejections for _, rejections in judged)])


def _judged(rows: pl.DataFrame, limits: FilterSettings) -> tuple[pl.Series, pl.DataFrame]:
    """Whether each of ``rows`` (``row_id, completion``) is kept, and ``rejections`` of the others."""
    reasons = [reject_reasons(text, limits) for text in rows["completion"]]
    places = [place for place, found in enumerate(reasons) for _ in found]
    rejections = pl.DataFrame({"row_id": rows["row_id"].gather(places), "reason": [*chain.from_iterable(reasons)]})
    return pl.Series([not found for found in reasons], dtype=pl.Boolean), rejections.cast(pl.String)
