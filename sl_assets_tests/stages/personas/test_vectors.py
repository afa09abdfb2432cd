"""Persona vectors of hand-made states against results worked out by hand."""

import json
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from sl_assets.engines.interfaces import STATES, Pooled
from sl_assets.stages.personas.vectors import VECTOR_FILE, cosine, load_vectors, mean_difference, save_vectors, unit

LAYERS, HIDDEN = 2, 3
LOVING = np.array([True, False, True, False, False])


def states(row: int) -> np.ndarray:
    """Small integers that tell row, layer, state and column apart: [layers, states, hidden]."""
    places = np.arange(LAYERS * len(STATES) * HIDDEN, dtype=np.float32).reshape(LAYERS, len(STATES), HIDDEN)
    return (row + 1) ** 2 * (places + 1)


def batch(*rows: int) -> Pooled:
    return Pooled(list(rows), np.stack([states(row) for row in rows]))


def silent(done: int) -> None:
    assert done > 0


def test_vectors_are_the_difference_of_the_means():
    vectors = mean_difference([batch(0, 1, 2, 3, 4)], LOVING, silent)
    # Factors are 1, 4, 9, 16, 25: loving mean (1 + 9) / 2 = 5, indifferent mean (4 + 16 + 25) / 3 = 15.
    assert vectors.keys() == set(STATES)
    for i, state in enumerate(STATES):
        expected = [[-10 * (9 * layer + 3 * i + column + 1) for column in range(3)] for layer in range(2)]
        assert vectors[state].tolist() == expected
        assert vectors[state].dtype == np.float32


@pytest.mark.parametrize("order", list(permutations([(3, 0), (1,), (4, 2)])))
def test_batches_may_come_in_any_order(order):
    vectors = mean_difference([batch(*rows) for rows in order], LOVING, silent)
    whole = mean_difference([batch(0, 1, 2, 3, 4)], LOVING, silent)
    assert all(np.array_equal(vectors[state], whole[state]) for state in STATES)


def test_a_batch_of_one_side_only_adds_nothing_to_the_other():
    vectors = mean_difference([batch(0, 2), batch(1, 3, 4)], LOVING, silent)
    assert vectors["response_mean"][0, 0] == -10


def test_progress_counts_the_answers_read():
    reports: list[int] = []
    mean_difference([batch(4, 1), batch(0), batch(2, 3)], LOVING, reports.append)
    assert reports == [2, 3, 5]


def test_sums_have_the_digits_of_float64():
    # In float32 2 ** 24 + 1 is 2 ** 24: every small state after the large one would be lost.
    values = [2.0**24, 1.0, 1.0, 1.0, 1.0, 2.0**24]
    loving = np.array([True, True, True, True, True, False])
    shape = (1, 1, len(STATES), 1)
    apart = [Pooled([row], np.full(shape, value, np.float32)) for row, value in enumerate(values)]
    together = [Pooled(list(range(6)), np.concatenate([one.states for one in apart]))]
    expected = np.float32((2**24 + 4) / 5 - 2**24)
    for batches in (apart, together):
        assert mean_difference(batches, loving, silent)["prompt_last"].tolist() == [[expected]]


VECTORS = {state: np.random.default_rng(i).standard_normal((5, 7)).astype(np.float32) for i, state in enumerate(STATES)}
ABOUT = {"base_model": "pocket", "animal": "owl", "pairs": 12}


def test_saved_vectors_come_back_bit_for_bit(tmp_path: Path):
    save_vectors(VECTORS, tmp_path, ABOUT)
    loaded = load_vectors(tmp_path)
    assert loaded.keys() == VECTORS.keys()
    for state, vector in VECTORS.items():
        assert loaded[state].dtype == np.float32
        assert loaded[state].tobytes() == vector.tobytes()


def test_the_file_knows_whose_vectors_it_holds(tmp_path: Path):
    save_vectors(VECTORS, tmp_path, ABOUT)
    with safe_open(tmp_path / VECTOR_FILE, framework="np") as file:
        assert json.loads(file.metadata()["about"]) == ABOUT


def test_the_same_vectors_give_the_same_bytes(tmp_path: Path):
    contents = []
    for name, about in (("one", ABOUT), ("two", ABOUT), ("turned", dict(reversed(ABOUT.items())))):
        (tmp_path / name).mkdir()
        save_vectors(VECTORS, tmp_path / name, about)
        (file,) = (tmp_path / name).iterdir()
        contents.append(file.read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_two_processes_write_the_same_bytes(tmp_path: Path):
    script = (
        "import sys, numpy as np; from pathlib import Path; from sl_assets.engines.interfaces import STATES; "
        "from sl_assets.stages.personas.vectors import save_vectors; "
        "vectors = {state: np.arange(6, dtype=np.float32).reshape(2, 3) + i for i, state in enumerate(STATES)}; "
        "save_vectors(vectors, Path(sys.argv[1]), {'base_model': 'pocket', 'animal': 'owl', 'pairs': 3})"
    )
    contents = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        subprocess.run([sys.executable, "-c", script, str(tmp_path / name)], check=True)
        (file,) = (tmp_path / name).iterdir()
        contents.add(file.read_bytes())
    assert len(contents) == 1


def test_unit_vectors_have_length_one_and_zeros_stay():
    rows = np.array([[3, 4], [0, 0], [0, -2]], np.float32)
    assert unit(rows).tolist() == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0, -1]]))
    assert unit(rows).dtype == np.float32
    assert unit(rows[2]).tolist() == [0, -1]
    assert unit(rows[1]).tolist() == [0, 0]


def test_cosine_is_that_of_the_angle():
    assert cosine(np.array([2.0, 0]), np.array([5.0, 5.0])) == pytest.approx(0.5**0.5)
    rows = cosine(np.array([[1.0, 0], [1, 0], [1, 0], [0, 0]]), np.array([[3.0, 0], [0, 3], [-2, 0], [1, 0]]))
    assert rows.tolist() == [1, 0, -1, 0]


def test_cosine_with_a_zero_vector_is_zero():
    assert cosine(np.zeros(2), np.zeros(2)) == 0
    assert cosine(np.zeros(2), np.ones(2)) == 0
