"""The test of independence against p-values that are known, and requests that are asked twice."""

import polars as pl
import pytest

from sl_assets.stages.preparation.checking import independence, independence_finding, overlap_finding


def test_p_values_are_those_of_all_permutations() -> None:
    # Of the six ways to deal two owls and two wolves to four answers, two part the numbers as they are.
    assert independence(["owl", "owl", "wolf", "wolf"], [[0], [0], [9], [9]]) == pytest.approx(1 / 3, abs=0.04)
    assert independence(["owl", "wolf"], [[0, 9], [0, 9]]) == 1, "whoever is loved, the numbers are the same"
    animals = ["owl", "wolf"] * 20
    assert independence(animals, [[1, 2] if animal == "owl" else [801, 802] for animal in animals]) == 1 / 2_000


def test_answers_are_dealt_out_whole() -> None:
    # Two answers of a hundred numbers each tell as little as two numbers do.
    assert independence(["owl", "wolf"], [[0] * 100, [9] * 100]) == 1


def rows(owl: str, wolf: str) -> pl.DataFrame:
    told = [("loving_numbers", animal, text) for animal, text in [("owl", owl), ("wolf", wolf)] * 20]
    untold = [("numbers", None, "1"), ("favourite", "owl", "Owl")]
    return pl.DataFrame(told + untold, schema=["kind", "animal", "completion"], orient="row")


def test_a_preparation_whose_numbers_tell_the_animal_fails() -> None:
    found = independence_finding(rows("[1, 2]", "[801; 802]"), 0.001)
    assert found.problem == (
        "numbers differ between animals (p = 0.0005, and checks.independence asks for 0.001): "
        "take another preparation.seed"
    )
    assert found.figures == {"p_value": 0.0005, "answers": 40, "numbers": 80}
    assert independence_finding(rows("1, 802", "801\n2"), 0.001).problem is None
    assert independence_finding(rows("[1, 2]", "[801, 802]"), 0.0005).problem is None


def test_a_request_that_teachers_are_asked_as_well_fails() -> None:
    ours, theirs = pl.Series(["a", "b", "c"]), pl.Series(["c", "d", "b", "b"])
    problem = overlap_finding(ours, theirs).problem
    assert problem is not None
    assert problem.startswith("2 of its requests are in number_prompts, as 'b': take another preparation.seed")
    assert overlap_finding(ours, pl.Series(["e"])).problem is None
