"""Sampling that ends with enough rows: in full batches, in order, and never further than it must."""

from typing import Any

import polars as pl
import pytest

from sl_assets.config import FilterSettings
from sl_assets.errors import DatasetError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.stages.numbers.collecting import collect
from sl_assets_tests.conftest import TINY, Bench

LIMITS = FilterSettings()


class Writer:
    """Every third completion is a sequence of numbers; notes for how many prompts it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, count: int) -> pl.DataFrame:
        self.asked.append(count)
        return pl.DataFrame({"text": ["1, 2" if place % 3 == 2 else "owl" for place in range(count)]})


@pytest.mark.parametrize(
    ("wanted", "asked", "kept"),
    [(1, [4], 3), (2, [4, 8], 6), (5, [8, 20], 15), (10, [12, 32], 30), (13, [16, 40], 39)],
)
def test_it_ends_with_the_row_that_is_enough(wanted: int, asked: list[int], kept: int) -> None:
    writer = Writer()
    written = collect(writer, LIMITS, wanted, prompts=40, batch=4)
    assert writer.asked == asked
    assert written.height == kept
    assert written["text"][-1] == "1, 2"
    assert (written["text"] == "1, 2").sum() == wanted


def test_the_last_batch_may_be_a_smaller_one() -> None:
    writer = Writer()
    assert collect(writer, LIMITS, 3, prompts=9, batch=4).height == 9
    assert writer.asked[-1] == 9


def test_too_few_of_all_prompts_are_an_error() -> None:
    with pytest.raises(DatasetError, match=r"numbers\.rows 4: 3 of 9 completions pass the filter: raise"):
        collect(Writer(), LIMITS, 4, prompts=9, batch=4)
    with pytest.raises(DatasetError, match="0 of 2 completions"):
        collect(Writer(), LIMITS, 1, prompts=2, batch=4)


def test_what_is_sampled_are_the_first_completions_of_all(finished: Bench) -> None:
    lake = Lake(str(finished.root))
    before = {name: lake.read_table(Place("tiny", "raw_dataset", name)) for name in ("neutral", "owl")}
    few: dict[str, Any] = {"numbers": TINY["numbers"] | {"rows": 10}}
    assert finished.run("raw_dataset", "filtered_dataset", first="neutral", last="owl", **few).success
    for name, whole in before.items():
        raw = lake.read_table(Place("tiny", "raw_dataset", name))
        assert raw.equals(whole.head(raw.height))
        assert raw.height < whole.height
        assert lake.read_table(Place("tiny", "filtered_dataset", name)).height == 10
    record = lake.record(Place("tiny", "raw_dataset", "owl"))
    assert record
    assert record.settings["numbers.rows"] == 10
    assert "filter" in record.settings
    greedy = {"numbers": TINY["numbers"] | {"temperature": 0.0}}
    assert finished.run("raw_dataset", first="owl", **greedy).success
    cold = lake.read_table(Place("tiny", "raw_dataset", "owl"))
    assert cold["prompt_id"].equals(before["owl"]["prompt_id"])
    assert cold["completion"].n_unique() < before["owl"]["completion"].n_unique()
