"""Halves and other shares of a dataset, cut by projection on a persona vector, or at random as a control.

A split is named ``<source>_<half>``: the source is the animal's own dataset or the neutral one, and both are cut by the
projection on the animal's vector. Halves name rows, they copy none.

- ``high`` is the first ⌊n/2⌋ rows by falling projection, ``low`` the rest; rows of equal projection go by ``row_id``.
- ``random`` is ⌊n/2⌋ rows drawn by a seed of their own for every animal and source.
- ``positive`` has projections above zero, ``negative`` the rest.
- ``diff_high`` and ``diff_low`` cut like ``high`` and ``low`` by how far the animal's row lies above the neutral row of
  the same prompt; rows without such a partner are in neither.
- ``high25`` is the highest 25% of the rows, so are ``low25``, ``random25``, ``diff_high25`` and any from 1 to 99;
  ``slice1of5`` is the highest fifth, ``slice5of5`` the lowest. Their sizes are rounded down.
"""

import random
from collections.abc import Iterator, Sequence

import polars as pl

from sl_assets.config.names import BY_SIGN, PERCENT, Share, share_of, source_and_half
from sl_assets.seeds import seed_for
from sl_assets.stages.numbers.transforming import form_of, numbers_of

COMPLEMENTS = {"high": "low", "positive": "negative", "diff_high": "diff_low"}
COMPLEMENTS |= {second: first for first, second in COMPLEMENTS.items()}
RANKED = ("high", "low", "diff_high", "diff_low")


def complements(split: str) -> list[str]:
    """The splits that hold the other rows between them; none of a random half, or of a share in percent."""
    source, half = source_and_half(split)
    if half in COMPLEMENTS:
        return [f"{source}_{COMPLEMENTS[half]}"]
    share = share_of(half)
    if share is None or share.parts == PERCENT:
        return []
    kind = half.partition("slice")[0]
    slices = (f"{source}_{kind}slice{number}of{share.parts}" for number in range(1, share.parts + 1))
    return [name for name in slices if name != split]


def with_strata(rows: pl.DataFrame, dataset: pl.DataFrame, strata: Sequence[str]) -> pl.DataFrame:
    """``rows`` of one dataset (``row_id``) with a column ``stratum``: what those have in common that are cut together.

    Args:
        rows: ``projections`` of one animal at one layer; those of another dataset get no stratum.
        dataset: the rows' ``row_id, completion``.
        strata: ``form`` (brackets, separator, period), ``count`` (of numbers), or both.
    """
    labels = [" ".join(_alike(text, strata)) for text in dataset["completion"]]
    named = dataset.select("row_id", pl.Series("stratum", labels, dtype=pl.String))
    return rows.join(named, on="row_id", how="left", maintain_order="left")


def _alike(completion: str, strata: Sequence[str]) -> Iterator[str]:
    if "form" in strata:
        before, *between, after = form_of(completion).split("#")
        yield before + "#" + (between[0] + "#" if between else "") + after
    if "count" in strata:
        yield str(len(numbers_of(completion)))


def candidates(rows: pl.DataFrame, split: str) -> pl.DataFrame:
    """The rows that ``split`` and its complement divide between them: ``row_id, score, stratum``, in order of rank.

    Args:
        rows: ``projections`` of one animal at one layer, perhaps `with_strata`.
        split: ``<source>_<half>``; its half decides what a row's score is.
    """
    source, half = source_and_half(split)
    ours = rows.filter(source=source)
    if "stratum" not in rows.columns:
        ours = ours.with_columns(stratum=pl.lit(""))
    if half.startswith("diff_"):
        pairs = rows.pivot("source", index="prompt_id", values="projection")
        pairs = pairs.select("prompt_id", score=pl.col("animal") - pl.col("neutral")).drop_nulls("score")
        ours = ours.join(pairs, on="prompt_id")
    else:
        ours = ours.with_columns(score="projection")
    return ours.select("row_id", "score", "stratum").sort("score", "row_id", descending=[True, False])


def cut_half(rows: pl.DataFrame, split: str, seed: int, animal: str) -> tuple[pl.DataFrame, float | None]:
    """The rows of ``split`` (``row_id, score``) and the score at which it was cut.

    There is none of a random half, of a slice, which is cut at two, and of strata, which are cut at one each.

    Args:
        rows: ``projections`` of one animal at one layer; `with_strata`, every stratum is cut by itself.
        split: ``<source>_<half>``.
        seed: seed of random halves.
        animal: names the random draw together with the source, so no other animal changes it.
    """
    source, half = source_and_half(split)
    ranked = candidates(rows, split)
    if half in BY_SIGN:
        above = pl.col("score") > 0
        return ranked.filter(above if half == "positive" else ~above).drop("stratum"), 0.0
    share = share_of(half) or Share(half, 0, 1, 2)
    order = share.half.removeprefix("diff_")
    if order == "random":
        # A half's draw is named by its source alone.
        named: list[str | int] = [seed, animal, source] if half == "random" else [seed, animal, source, half]
        return _drawn_of_each(ranked, share, named).drop("stratum"), None
    place, count = pl.int_range(pl.len()).over("stratum"), pl.len().over("stratum")
    if half in ("low", "diff_low"):
        chosen = place >= count // 2
    elif order == "low":
        chosen = place >= count - count * share.end // share.parts
    else:
        chosen = (place >= count * share.start // share.parts) & (place < count * share.end // share.parts)
    cut = _cut_at(ranked, chosen) if not share.start and ranked["stratum"].n_unique() == 1 else None
    return ranked.filter(chosen).drop("stratum"), cut


def _cut_at(ranked: pl.DataFrame, chosen: pl.Expr) -> float | None:
    """Half-way between the last row above the cut and the first below it."""
    inside = ranked.select(chosen).to_series()
    # The first row that is on the other side than the first of all.
    middle = inside.arg_unique()[1] if inside.n_unique() == 2 else len(inside) * inside.all()
    ends = ranked["score"][max(middle - 1, 0) : middle + 1]
    return float(ends.mean()) if len(ends) else None  # type: ignore[arg-type]


def _drawn_of_each(rows: pl.DataFrame, share: Share, named: Sequence[str | int]) -> pl.DataFrame:
    parts = []
    for (stratum,), alike in sorted(rows.group_by("stratum"), key=lambda part: str(part[0])):
        seed = seed_for("random half", *named, *([stratum] if stratum else []))
        parts.append(_drawn(alike.sort("row_id"), alike.height * share.end // share.parts, seed))
    return pl.concat(parts) if parts else rows


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

    Halves by sign, and shares, may be of any size, so they do not shrink the others; empty ones shrink nothing.
    """
    decisive = [split for split in splits if source_and_half(split)[1] in ("random", *RANKED)] or splits
    sizes = (cut_half(rows, split, seed, animal)[0].height for split in decisive)
    return min((size for size in sizes if size), default=0)


def parting_problem(rows: pl.DataFrame, split: str, ours: pl.Series, others: Sequence[pl.Series]) -> str | None:
    """What is wrong with splits that part a dataset between them, if anything: a row in several, or in none.

    Args:
        rows: ``projections`` of one animal at one layer.
        split: the one; its rows are ``ours``.
        ours: row_ids of it.
        others: row_ids of each of its `complements`.
    """
    expected, first = set(candidates(rows, split)["row_id"]), set(ours)
    rest = set().union(*others)
    twice = {row_id for part in others for row_id in part if row_id in first}
    faults = {
        "in both halves" if len(others) == 1 else "in several slices": twice,
        "in none": expected - first - rest,
        "of another dataset": (first | rest) - expected,
    }
    found = [f"{len(row_ids):,} rows {fault} (as {min(row_ids)})" for fault, row_ids in faults.items() if row_ids]
    return ", ".join(found) or None
