"""Which filtered rows a student sees."""

import random

import polars as pl

from sl_assets.engines.interfaces import Example
from sl_assets.errors import DatasetError


def draw_rows(rows: pl.DataFrame, max_rows: int, seed: int, condition: str) -> pl.DataFrame:
    """At most ``max_rows`` of ``rows``, drawn without replacement and kept in order; all where there are fewer.

    Raises:
        DatasetError: there are no rows.
    """
    if rows.is_empty():
        raise DatasetError(f"filtered_dataset of {condition} has no rows to train on")
    if rows.height <= max_rows:
        return rows
    chosen = random.Random(f"students/{seed}/{condition}").sample(range(rows.height), max_rows)
    return rows[sorted(chosen)]


def examples_of(rows: pl.DataFrame, system: str | None) -> list[Example]:
    """What a student learns from ``rows``, under a system prompt if one is given."""
    pairs = rows.select("prompt", "completion").iter_rows()
    return [Example(prompt, completion, system) for prompt, completion in pairs]
