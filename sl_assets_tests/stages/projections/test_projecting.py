"""Projections of hand-made activations, in numbers whose sums no float rounds."""

from pathlib import Path

import numpy as np
import pytest

from sl_assets.errors import DatasetError
from sl_assets.stages.projections.projecting import TILE_ROWS, project
from sl_assets_tests.stages.projections.folders import write_folder

STATE, LAYER = "response_mean", 2
VECTORS = np.array([[1, 0, 0, 0], [1, 1, 1, 1], [-2, 2, 2, -2]], np.float32)
"""Of lengths 1, 2 and 4, so that their directions are exact."""


def numbered(rows: int) -> np.ndarray:
    """States that are small integers and tell thousands of rows apart: [rows, 4]."""
    row = np.arange(rows)
    return np.stack([row % 1000, row // 1000, 3 - row % 7, row % 2], axis=1)


def expected(states: np.ndarray) -> np.ndarray:
    """In whole halves, without a float: [rows, vectors]."""
    return states @ np.array([[2, 0, 0, 0], [1, 1, 1, 1], [-1, 1, 1, -1]]).T / 2


@pytest.mark.parametrize(
    "parts",
    [
        [1],
        [TILE_ROWS - 1],
        [TILE_ROWS],
        [TILE_ROWS + 1],
        [2 * TILE_ROWS - 1, 3 * TILE_ROWS, 2 * TILE_ROWS + 1],
        [1, TILE_ROWS, TILE_ROWS + 1, 9 * TILE_ROWS + 3, 3],
        [2] * 12,
    ],
    ids=lambda parts: "+".join(map(str, parts)),
)
def test_every_row_is_projected_whatever_the_parts(tmp_path: Path, parts: list[int]):
    states = numbered(sum(parts))
    folder = write_folder(tmp_path / "owl", {(STATE, LAYER): states}, parts)
    projections = project(folder, STATE, LAYER, VECTORS)
    assert projections.dtype == np.float32
    assert projections.shape == (len(states), 3)
    assert np.array_equal(projections, expected(states))


def test_only_the_state_and_layer_asked_for_are_projected(tmp_path: Path):
    states = {
        (state, layer): numbered(5) + 10 * layer + len(state) for state in (STATE, "prompt_last") for layer in (0, 2)
    }
    folder = write_folder(tmp_path / "owl", states)
    for (state, layer), values in states.items():
        assert np.array_equal(project(folder, state, layer, VECTORS), expected(values))


@pytest.mark.parametrize("length", [2.0**-20, 0.5, 64.0, 2.0**20])
def test_length_of_a_vector_does_not_matter(tmp_path: Path, length: float):
    folder = write_folder(tmp_path / "owl", {(STATE, LAYER): numbered(300)})
    vectors = np.array([[3, -1, 4, 1], [0.1, 5, -9, 2]], np.float32)
    assert np.array_equal(project(folder, STATE, LAYER, length * vectors), project(folder, STATE, LAYER, vectors))


def test_an_opposite_vector_turns_the_sign(tmp_path: Path):
    folder = write_folder(tmp_path / "owl", {(STATE, LAYER): numbered(300)})
    assert np.array_equal(project(folder, STATE, LAYER, -VECTORS), -project(folder, STATE, LAYER, VECTORS))


def test_a_vector_is_projected_alike_alone_and_among_others(tmp_path: Path):
    folder = write_folder(tmp_path / "owl", {(STATE, LAYER): numbered(300)})
    together = project(folder, STATE, LAYER, VECTORS)
    for i in range(len(VECTORS)):
        assert np.array_equal(project(folder, STATE, LAYER, VECTORS[[i]])[:, 0], together[:, i])


def test_nothing_is_projected_on_a_zero_vector(tmp_path: Path):
    folder = write_folder(tmp_path / "owl", {(STATE, LAYER): numbered(3)})
    with pytest.raises(DatasetError, match="zero at layer 2") as error:
        project(folder, STATE, LAYER, VECTORS * [[1], [0], [1]])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("state", "layer"), [(STATE, 1), ("prompt_mean", LAYER)])
def test_a_missing_layer_or_state_is_named(tmp_path: Path, state: str, layer: int):
    folder = write_folder(tmp_path / "owl", {(STATE, LAYER): numbered(3)})
    with pytest.raises(DatasetError, match=rf"{state}\.{layer}.*materialise them again") as error:
        project(folder, state, layer, VECTORS)
    assert "\n" not in str(error.value)
