"""Which filtered rows a student sees."""

import random

import polars as pl

from sl_assets.engines.interfaces import Example
from sl_assets.errors import DatasetError
from sl_assets.stages.numbers.sources import system_prompts


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
    """What a student learns from ``rows``, each under its own system prompt, or under ``system`` if that is given.

    Raises:
        DatasetError: rows have their own, and one is given.
    """
    pairs = rows.select("prompt", "completion").iter_rows()
    told = system_prompts(rows, system)
    return [Example(prompt, completion, system) for (prompt, completion), system in zip(pairs, told, strict=True)]
