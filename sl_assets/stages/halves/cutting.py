"""Halves of a dataset, cut by projection on a persona vector, or at random as a control.

A split is named ``<source>_<half>``: the source is the animal's own dataset or the neutral one, and both are cut by the
projection on the animal's vector. Halves name rows, they copy none.

- ``high`` is the first ⌊n/2⌋ rows by falling projection, ``low`` the rest; rows of equal projection go by ``row_id``.
- ``random`` is ⌊n/2⌋ rows drawn by a seed of their own for every animal and source.
- ``positive`` has projections above zero, ``negative`` the rest.
- ``diff_high`` and ``diff_low`` cut like ``high`` and ``low`` by how far the animal's row lies above the neutral row of
  the same prompt; rows without such a partner are in neither.
"""

import random
from collections.abc import Sequence

import polars as pl

from sl_assets.config.names import source_and_half
from sl_assets.seeds import seed_for

COMPLEMENTS = {"high": "low", "positive": "negative", "diff_high": "diff_low"}
COMPLEMENTS |= {second: first for first, second in COMPLEMENTS.items()}


def complement(split: str) -> str | None:
    """The half that holds the other rows; None for a random half."""
    source, half = source_and_half(split)
    return f"{source}_{COMPLEMENTS[half]}" if half in COMPLEMENTS else None


def candidates(rows: pl.DataFrame, split: str) -> pl.DataFrame:
    """The rows that ``split`` and its complement divide between them: ``row_id, score``, in order of rank.

    Args:
        rows: ``projections`` of one animal at one layer.
        split: a member of `SPLITS`; its half decides what a row's score is.
    """
    source, half = source_and_half(split)
    ours = rows.filter(source=source)
    if half.startswith("diff_"):
        pairs = rows.pivot("source", index="prompt_id", values="projection")
        pairs = pairs.select("prompt_id", score=pl.col("animal") - pl.col("neutral")).drop_nulls("score")
        ours = ours.join(pairs, on="prompt_id")
    else:
        ours = ours.with_columns(score="projection")
    return ours.select("row_id", "score").sort("score", "row_id", descending=[True, False])


def cut_half(rows: pl.DataFrame, split: str, seed: int, animal: str) -> tuple[pl.DataFrame, float | None]:
    """The rows of ``split`` (``row_id, score``) and the score at which it was cut (None for a random half).

    Args:
        rows: ``projections`` of one animal at one layer.
        split: a member of `SPLITS`.
        seed: seed of random halves.
        animal: names the random draw together with the source, so no other animal changes it.
    """
    source, half = source_and_half(split)
    ranked = candidates(rows, split)
    middle = ranked.height // 2
    match half.removeprefix("diff_"):
        case "high":
            return ranked.head(middle), _cut_at(ranked, middle)
        case "low":
            return ranked.slice(middle), _cut_at(ranked, middle)
        case "positive":
            return ranked.filter(pl.col("score") > 0), 0.0
        case "negative":
            return ranked.filter(pl.col("score") <= 0), 0.0
    return _drawn(ranked.sort("row_id"), middle, seed_for("random half", seed, animal, source)), None


def _cut_at(ranked: pl.DataFrame, middle: int) -> float | None:
    """Half-way between the last row above the cut and the first below it."""
    ends = ranked["score"][max(middle - 1, 0) : middle + 1]
    return float(ends.mean()) if len(ends) else None  # type: ignore[arg-type]


def _drawn(rows: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    chosen = random.Random(seed).sample(range(rows.height), count)
    return rows[sorted(chosen)]


def cut_to_size(half: pl.DataFrame, size: int, seed: int, animal: str, split: str) -> pl.DataFrame:
    """``half`` with a column ``used``: all rows, or ``size`` of them drawn at random where there are more."""
    if half.height <= size:
        return half.with_columns(used=pl.lit(True))
    kept = _drawn(half.sort("row_id"), size, seed_for("equal halves", seed, animal, split))
    return half.with_columns(used=pl.col("row_id").is_in(kept["row_id"].implode()))


def equal_size(rows: pl.DataFrame, splits: Sequence[str], seed: int, animal: str) -> int:
    """Rows in the smallest of ``splits``.

    Halves by sign may be of any size, so they do not shrink the others; empty ones shrink nothing.
    """
    by_sign = {split for split in splits if source_and_half(split)[1] in ("positive", "negative")}
    decisive = [split for split in splits if split not in by_sign] or splits
    sizes = (cut_half(rows, split, seed, animal)[0].height for split in decisive)
    return min((size for size in sizes if size), default=0)


def complement_problem(rows: pl.DataFrame, split: str, ours: pl.Series, others: pl.Series) -> str | None:
    """What is wrong with two complementary halves, if anything: a row in both, or in none.

    Args:
        rows: ``projections`` of one animal at one layer.
        split: the one half; its rows are ``ours``.
        ours, others: row_ids of the half and of its complement.
    """
    expected, first, second = set(candidates(rows, split)["row_id"]), set(ours), set(others)
    faults = {
        "in both halves": first & second,
        "in none": expected - first - second,
        "of another dataset": (first | second) - expected,
    }
    found = [f"{len(row_ids):,} rows {fault} (as {min(row_ids)})" for fault, row_ids in faults.items() if row_ids]
    return ", ".join(found) or None
