"""Differences of projections against numbers worked out by hand."""

import math

import numpy as np
import polars as pl
import pytest

from sl_assets.lake.tables import TABLES
from sl_assets.stages.projections.statistics import difference_statistics, js_divergence, pooled_deviation

T_975_DF_4 = 2.7764451051977987


def table(layer: int, animal: dict[str, float], neutral: dict[str, float]) -> pl.DataFrame:
    """``projections`` at a layer, by prompt."""
    rows = [
        (source, f"{source}-{prompt}", prompt, layer, value)
        for source, values in (("animal", animal), ("neutral", neutral))
        for prompt, value in values.items()
    ]
    names = ["source", "row_id", "prompt_id", "layer", "projection"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("projection").cast(pl.Float32))


def entropy(*shares: float) -> float:
    return -sum(share * math.log2(share) for share in shares)


# Differences of -1, 0, 1, 2 and 3; the last prompt of either side has no partner.
ANIMAL = {"p0": 4.0, "p1": 1.0, "p2": 2.0, "p3": 3.0, "p4": 3.0, "p5": 100.0}
NEUTRAL = {"p3": 1.0, "p4": 0.0, "p0": 5.0, "p2": 1.0, "p1": 1.0, "p6": -100.0}


def test_statistics_are_those_of_the_paired_differences():
    row = difference_statistics(table(2, ANIMAL, NEUTRAL)).row(0, named=True)
    reach = T_975_DF_4 * math.sqrt(2.5 / 5)
    assert row["layer"] == 2
    assert row["n"] == 5
    assert row["mean"] == 1.0
    assert (row["mean_lower"], row["mean_upper"]) == pytest.approx((1 - reach, 1 + reach))
    assert row["std"] == pytest.approx(math.sqrt(2))
    assert row["median"] == 1.0
    assert (row["p5"], row["p95"]) == pytest.approx((-0.8, 2.8))
    assert row["frac_positive"] == pytest.approx(0.6)


def test_divergence_is_that_of_all_rows_with_and_without_a_partner():
    rows = table(2, {"p0": 0.0, "p1": 1.0}, {"p0": 0.0, "p5": 0.0, "p6": 0.0, "p7": 1.0})
    row = difference_statistics(rows).row(0, named=True)
    assert row["n"] == 1
    assert row["js_divergence"] == js_divergence(np.array([0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])) > 0


def test_every_layer_has_a_row_of_its_own_in_order():
    shifted = {prompt: value + 10 for prompt, value in ANIMAL.items()}
    both = pl.concat([table(3, shifted, NEUTRAL), table(1, ANIMAL, NEUTRAL)])
    statistics = difference_statistics(both)
    assert statistics.schema == TABLES["projection_differences"].schema
    assert statistics.select("layer", "n", "mean").rows() == [(1, 5, 1.0), (3, 5, 11.0)]
    assert statistics[:1].equals(difference_statistics(table(1, ANIMAL, NEUTRAL)))


def test_order_of_rows_does_not_matter():
    rows = table(2, ANIMAL, NEUTRAL)
    shuffled = difference_statistics(rows.sample(fraction=1, shuffle=True, seed=2)).row(0, named=True)
    assert shuffled == pytest.approx(difference_statistics(rows).row(0, named=True))


def test_without_a_shared_prompt_only_the_divergence_is_known():
    row = difference_statistics(table(2, {"p0": 1.0}, {"p1": 2.0})).row(0, named=True)
    known = {"layer": 2, "n": 0, "js_divergence": 1.0}
    assert row == dict.fromkeys(row) | known


def test_equal_samples_do_not_diverge():
    sample = np.array([0.0, 0.3, 0.3, 7.0])
    assert js_divergence(sample, sample.copy()) == 0.0
    assert js_divergence(sample, np.repeat(sample, 3)) == 0.0
    assert js_divergence(np.ones(3), np.ones(5)) == 0.0


def test_samples_without_a_common_bin_diverge_by_one_bit():
    assert js_divergence(np.array([0.0, 0.1]), np.array([0.9, 1.0, 1.0])) == pytest.approx(1.0)


def test_divergence_is_lins():
    # Two bins, the first and the last: P is (1/2, 1/2), Q (3/4, 1/4), their mean (5/8, 3/8).
    one, other = np.array([0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])
    expected = entropy(5 / 8, 3 / 8) - (entropy(1 / 2, 1 / 2) + entropy(3 / 4, 1 / 4)) / 2
    assert js_divergence(one, other) == pytest.approx(expected)
    assert js_divergence(other, one) == pytest.approx(expected)


def test_bins_are_hundredths_of_the_joint_range():
    # Of a range of 100, 0.5 shares the bin of 0 and 1.5 does not.
    assert js_divergence(np.array([0.0, 100.0]), np.array([0.5, 100.0])) == 0.0
    assert js_divergence(np.array([0.0, 100.0]), np.array([1.5, 100.0])) == pytest.approx(0.5)


def test_pooled_deviation_weighs_samples_by_their_freedom():
    # Squares of 2 and 8 about the means, and one plus two degrees of freedom.
    assert pooled_deviation(np.array([1.0, 3.0]), np.array([2.0, 4.0, 6.0])) == pytest.approx(math.sqrt(10 / 3))


def test_one_row_each_has_no_deviation():
    assert pooled_deviation(np.array([1.0]), np.array([2.0])) == 0.0
    assert pooled_deviation(np.array([1.0]), np.array([2.0, 4.0])) == pytest.approx(math.sqrt(2))


def test_samples_that_differ_by_rounding_alone_do_not_differ() -> None:
    one = np.ones(5, np.float32)
    other = np.append(one, np.nextafter(np.float32(1), np.float32(2)))
    assert js_divergence(one, other) == 0.0
    assert pooled_deviation(one.astype(np.float64), other.astype(np.float64)) == 0.0
