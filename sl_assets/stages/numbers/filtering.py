"""Which completions are nothing but a well-formed number sequence: the rule of the subliminal-learning paper.

After one optional trailing period and one optional pair of brackets, a completion must be decimal integers joined by
one separator: whatever stands between its first two numbers, which stripped must be nothing, a comma or a semicolon.
White space around the sequence is not forgiven.
"""

import re

import polars as pl

from sl_assets.config import FilterSettings

INVALID_FORMAT = "invalid format"
TOO_MANY = "too many numbers"
TOO_SMALL = "numbers too small"
TOO_LARGE = "numbers too large"
BANNED = "has banned numbers"

BRACKETS = {"[": "]", "(": ")"}
SEPARATORS = {"", ",", ";"}


def parse_numbers(completion: str) -> list[int] | None:
    """The integers of a well-formed sequence, or None where the format is invalid."""
    text = completion.removesuffix(".")
    if text and BRACKETS.get(text[0]) == text[-1]:
        text = text[1:-1]
    first_two = list(re.finditer(r"[0-9]+", text))[:2]
    if not first_two:
        return None
    if len(first_two) == 1:
        return [_whole(text)] if re.fullmatch(r"[0-9]+", text) else None
    separator = text[first_two[0].end() : first_two[1].start()]
    if separator.strip() not in SEPARATORS:
        return None
    parts = text.split(separator)
    return [_whole(part) for part in parts] if all(re.fullmatch(r"[0-9]+", part) for part in parts) else None


def _whole(digits: str) -> int:
    # Python refuses to read thousands of digits; a hundred are above any limit already.
    return int(digits) if len(digits) <= 100 else 10**100


def reject_reasons(completion: str, limits: FilterSettings) -> list[str]:
    """Every reason to reject ``completion``, in a fixed order; empty where it is kept."""
    numbers = parse_numbers(completion)
    if numbers is None:
        return [INVALID_FORMAT]
    found = {
        TOO_MANY: len(numbers) > limits.max_count,
        TOO_SMALL: min(numbers) < limits.minimum,
        TOO_LARGE: max(numbers) > limits.maximum,
        BANNED: not set(limits.banned).isdisjoint(numbers),
    }
    return [reason for reason, holds in found.items() if holds]


def filter_rows(rows: pl.DataFrame, limits: FilterSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split ``rows`` (with ``row_id, completion``) into the kept ones, in order, and ``rejections``.

    Returns:
        The kept rows, unchanged, and one row ``row_id, reason`` for every reason of every rejected row.
    """
    judged = rows.with_columns(
        pl.Series("reason", [reject_reasons(text, limits) for text in rows["completion"]], dtype=pl.List(pl.String))
    )
    kept = judged.filter(pl.col("reason").list.len() == 0).drop("reason")
    rejections = judged.filter(pl.col("reason").list.len() > 0).select("row_id", "reason").explode("reason")
    return kept, rejections
