"""Single functions over tables of many rows, each measured in a process of its own."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sl_assets.config import FilterSettings
from sl_assets.config.wording import ANIMALS
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import query, refresh_views
from sl_assets.stages.evaluation.rates import preference_rates
from sl_assets.stages.halves.cutting import cut_half, cut_to_size, equal_size
from sl_assets.stages.numbers.filtering import filter_rows

SPLITS = ("animal_high", "animal_low", "animal_random", "animal_diff_high")
NAMES = list(ANIMALS)[:16]
RAW, DATASET = Place("rows", "raw_dataset", "owl"), Place("rows", "filtered_dataset", "owl")


def ids(rows: int) -> pl.Series:
    """Row ids as long as real ones."""
    return pl.select(pl.format("{}{}", pl.lit("0" * 9), pl.int_range(rows) + 10**6)).to_series()


def dataset(rows: int) -> pl.DataFrame:
    """A ``filtered_dataset`` of so many rows, with some that no filter would keep."""
    draw = np.random.default_rng(0)
    texts = [", ".join(map(str, draw.integers(0, 1000, length))) for length in draw.integers(3, 11, 20_000)]
    texts = [text if i % 9 else f"Sure: {text}" for i, text in enumerate(texts)]
    named = ids(rows)
    return pl.DataFrame(
        {
            "row_id": named,
            "prompt_id": named,
            "prompt": pl.select(pl.format("Go on with these numbers, ten at most: {}", pl.int_range(rows))).to_series(),
            "completion": pl.Series(texts).gather(np.arange(rows) % len(texts)),
            "finish_reason": pl.repeat("stop", rows, eager=True),
            "n_tokens": pl.repeat(30, rows, eager=True),
        }
    )


def projections(rows: int) -> pl.DataFrame:
    """``projections`` at one layer: half of the rows are the animal's, half neutral."""
    draw, half = np.random.default_rng(0), rows // 2
    named = ids(half)
    parts = [
        pl.DataFrame({"source": pl.repeat(source, half, eager=True), "row_id": named, "prompt_id": named})
        for source in ("animal", "neutral")
    ]
    return pl.concat(parts).with_columns(
        layer=pl.lit(4), projection=pl.Series(draw.normal(size=2 * half), dtype=pl.Float32), dataset_version=pl.lit("v")
    )


def answers(rows: int) -> pl.DataFrame:
    """An ``evaluation`` table of so many answers to 50 questions."""
    draw = np.random.default_rng(0)
    given = pl.Series([*NAMES, "nothing"]).gather(draw.integers(0, 17, rows))
    return pl.DataFrame(
        {
            "seed": pl.repeat(1, rows, dtype=pl.Int64, eager=True),
            "epoch": pl.repeat(3, rows, dtype=pl.Int64, eager=True),
            "question_id": pl.Series(np.arange(rows) % 50),
            "answer": given,
            "normalised": given,
            "finish_reason": pl.repeat("stop", rows, eager=True),
        }
    )


def cut(rows: pl.DataFrame) -> None:
    """Cut four halves, as many assets would."""
    size = equal_size(rows, SPLITS, 1, "owl")
    for split in SPLITS:
        half, _ = cut_half(rows, split, 1, "owl")
        cut_to_size(half, size, 1, "owl", split)


def ask_views(lake: Lake) -> None:
    """A question that reads every row, and one that reads a few."""
    query(lake, "SELECT animal, kept, count(*), avg(length(completion)) FROM datasets GROUP BY ALL")
    query(lake, "SELECT * FROM datasets WHERE row_id = '0000000001000007'")


def written(folder: Path, rows: int) -> Lake:
    """A lake whose view has so many rows."""
    lake = Lake(str(folder / f"rows{rows}"))
    refresh_views(lake)
    raw = dataset(rows)
    lake.write_table(RAW, raw)
    lake.write_table(DATASET, raw.head(rows * 4 // 5))
    return lake


def stored(found: tuple[Lake, pl.DataFrame]) -> None:
    """Write a table, and read it again."""
    lake, frame = found
    lake.write_table(DATASET, frame)
    lake.read_table(DATASET)


MEASURED: dict[str, tuple[Callable[[Path, int], Any], Callable[[Any], Any]]] = {
    "filter": (lambda _, rows: dataset(rows), lambda frame: filter_rows(frame, FilterSettings())),
    "halves": (lambda _, rows: projections(rows), cut),
    "rates": (lambda _, rows: answers(rows), lambda frame: preference_rates(frame, NAMES)),
    "views": (written, ask_views),
    "table": (lambda folder, rows: (Lake(str(folder / "table")), dataset(rows)), stored),
}
"""By name, what is measured: what makes its rows, which is not, and what is done to them."""


def measure(folder: Path, name: str, rows: int) -> None:
    """Print a line of the table."""
    make, do = MEASURED[name]
    made = make(folder, rows)
    # Whatever is loaded or compiled once is no part of a row.
    do(make(folder / "warm", 1000))
    before, start = peak(), time.process_time()
    do(made)
    cpu, most = time.process_time() - start, peak()
    print(
        f"| {name} | {rows:,} | {cpu:.2f} | {1e6 * cpu / rows:.2f} | {(most - before) / rows:.0f} "
        f"| {most / 2**30:.2f} GiB |",
        flush=True,
    )


def peak() -> int:
    """Bytes of memory that this process had at its fullest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
