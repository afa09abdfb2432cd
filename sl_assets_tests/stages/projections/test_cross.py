"""Every dataset on every vector, against numbers worked out by hand."""

import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sl_assets.lake.tables import TABLES
from sl_assets.stages.projections.cross import Open, cross_table
from sl_assets.stages.projections.statistics import js_divergence
from sl_assets_tests.stages.projections.folders import write_folder

STATE = "prompt_mean"
T_975_DF_1 = math.tan(0.475 * math.pi)
COMPARED = ("n", "difference", "difference_lower", "difference_upper", "effect_size", "js_divergence")

# At layer 1 the owl's vector shows the first column, the wolf's the negative second; at layer 3 they change places.
VECTORS = {
    "owl": np.array([[0, 0], [2, 0], [0, 0], [0, -4]], np.float32),
    "wolf": np.array([[0, 0], [0, -4], [0, 0], [2, 0]], np.float32),
}
OWL = np.array([[1, 10], [3, 20], [8, 60]])
NEUTRAL = np.array([[0, 30], [2, 10], [1, 20], [5, 20]])


def folder(tmp_path: Path, name: str, states: np.ndarray, prompt_ids: list[str]) -> Path:
    return write_folder(tmp_path / name, {(STATE, 1): states, (STATE, 3): 2 * states}, (1, len(states) - 1), prompt_ids)


@pytest.fixture
def datasets(tmp_path: Path) -> dict[str, Path]:
    """Two datasets with two prompts in common, which come in another order and place."""
    return {
        "neutral": folder(tmp_path, "neutral", NEUTRAL, ["p9", "p3", "p8", "p1"]),
        "owl": folder(tmp_path, "owl", OWL, ["p1", "p2", "p3"]),
    }


def opened(datasets: dict[str, Path]) -> dict[str, Open]:
    return {name: partial(nullcontext, folder) for name, folder in datasets.items()}


def row(datasets: dict[str, Path], dataset: str, animal: str, layer: int) -> dict:
    table = cross_table(opened(datasets), VECTORS, STATE, [1, 3])
    return table.filter(dataset=dataset, animal=animal, layer=layer).row(0, named=True)


def test_there_is_a_row_for_every_layer_dataset_and_vector(datasets):
    table = cross_table(opened(datasets), VECTORS, STATE, [1, 3])
    assert table.schema == TABLES["cross_projections"].schema
    assert set(table.select("dataset", "animal", "layer").rows()) == {
        (dataset, animal, layer) for dataset in ("neutral", "owl") for animal in ("owl", "wolf") for layer in (1, 3)
    }
    assert table.height == 8


@pytest.mark.parametrize(
    ("dataset", "animal", "layer", "projections"),
    [
        ("owl", "owl", 1, [1, 3, 8]),
        ("owl", "wolf", 1, [-10, -20, -60]),
        ("owl", "owl", 3, [-20, -40, -120]),
        ("owl", "wolf", 3, [2, 6, 16]),
        ("neutral", "owl", 1, [0, 2, 1, 5]),
        ("neutral", "wolf", 3, [0, 4, 2, 10]),
    ],
)
def test_mean_and_deviation_are_those_of_all_rows(datasets, dataset, animal, layer, projections):
    found = row(datasets, dataset, animal, layer)
    mean = sum(projections) / len(projections)
    assert found["rows"] == len(projections)
    assert found["mean"] == pytest.approx(mean)
    assert found["std"] == pytest.approx(math.sqrt(sum((p - mean) ** 2 for p in projections) / len(projections)))


def test_difference_is_over_the_prompts_that_both_datasets_have(datasets):
    found = row(datasets, "owl", "owl", 1)
    # p1: 1 - 5, p3: 8 - 2; mean 1, standard error 5.
    assert found["n"] == 2
    assert found["difference"] == 1.0
    reach = T_975_DF_1 * 5
    assert (found["difference_lower"], found["difference_upper"]) == pytest.approx((1 - reach, 1 + reach))
    # p1: -10 + 20, p3: -60 + 10, and twice the states at layer 3.
    assert row(datasets, "owl", "wolf", 1)["difference"] == -20.0
    assert row(datasets, "owl", "owl", 3)["difference"] == -40.0
    assert row(datasets, "owl", "wolf", 3)["difference"] == 2.0


def test_effect_size_and_divergence_are_over_all_rows(datasets):
    found = row(datasets, "owl", "owl", 1)
    # Squares about the means of 4 and 2: 9 + 1 + 16 and 4 + 0 + 1 + 9, with five degrees of freedom.
    assert found["effect_size"] == pytest.approx((4 - 2) / math.sqrt((26 + 14) / 5))
    assert found["js_divergence"] == js_divergence(np.array([1.0, 3, 8]), np.array([0.0, 2, 1, 5]))
    # Of bins, {1} is shared: P gives it 1/3, Q 1/4.
    shares = [1 / 3 + 1 / 4, 1 / 3, 1 / 3, 1 / 4, 1 / 4, 1 / 4]
    mixed = -sum(share / 2 * math.log2(share / 2) for share in shares)
    assert found["js_divergence"] == pytest.approx(mixed - (math.log2(3) + 2) / 2)


def test_neutral_is_compared_with_nothing(datasets):
    for animal in VECTORS:
        found = row(datasets, "neutral", animal, 1)
        assert [found[name] for name in COMPARED] == [None] * len(COMPARED)


def test_without_neutral_there_are_projections_and_no_comparison(datasets):
    alone = {"owl": datasets["owl"]}
    found, compared = row(alone, "owl", "wolf", 1), row(datasets, "owl", "wolf", 1)
    assert [found[name] for name in COMPARED] == [None] * len(COMPARED)
    assert [found[name] for name in ("rows", "mean", "std")] == [compared[name] for name in ("rows", "mean", "std")]
    assert cross_table(opened(alone), VECTORS, STATE, [1, 3]).schema == TABLES["cross_projections"].schema


def test_datasets_without_a_common_prompt_have_no_difference(tmp_path: Path):
    datasets = {
        "neutral": folder(tmp_path, "neutral", NEUTRAL, ["p4", "p5", "p6", "p7"]),
        "owl": folder(tmp_path, "owl", OWL, ["p1", "p2", "p3"]),
    }
    found = row(datasets, "owl", "owl", 1)
    assert found["n"] == 0
    assert [found[name] for name in COMPARED[1:4]] == [None] * 3
    assert found["effect_size"] == pytest.approx((4 - 2) / math.sqrt((26 + 14) / 5))


def test_rows_that_are_all_alike_have_no_effect_size(tmp_path: Path):
    same = np.ones((3, 2))
    datasets = {name: folder(tmp_path, name, same, ["p1", "p2", "p3"]) for name in ("neutral", "owl")}
    found = row(datasets, "owl", "owl", 1)
    assert (found["difference"], found["effect_size"], found["js_divergence"]) == (0.0, None, 0.0)


def test_another_dataset_or_vector_changes_no_row(datasets, tmp_path: Path):
    few = cross_table(opened(datasets), VECTORS, STATE, [1])
    more = datasets | {"wolf": folder(tmp_path, "wolf", NEUTRAL[:3], ["p1", "p5", "p9"])}
    vectors = VECTORS | {"bear": np.ones((4, 2), np.float32)}
    many = cross_table(opened(more), vectors, STATE, [1])
    assert many.height == 9
    kept = many.filter(dataset="owl", animal="wolf")
    assert kept.equals(few.filter(dataset="owl", animal="wolf"))
