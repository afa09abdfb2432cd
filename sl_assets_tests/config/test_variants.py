"""Variants as data: what each comes to, what it is called, and each mistake as one line."""

from typing import Any

import pytest

from sl_assets.config import ExperimentConfig
from sl_assets.config.reading import validated
from sl_assets.config.variants import merged, variants_of
from sl_assets.errors import ExperimentFileError
from sl_assets_tests.conftest import TINY, tiny_settings


def variants(**changes: Any) -> dict[str, ExperimentConfig]:
    written = tiny_settings(**changes)
    return variants_of(written, validated(written))


def refused(**changes: Any) -> str:
    with pytest.raises(ExperimentFileError) as caught:
        variants(**changes)
    return str(caught.value)


def test_a_variant_is_the_experiment_but_for_what_it_names() -> None:
    found = variants(variants={"rank2": {"student": {"rank": 2}}})["rank2"]
    before = validated(tiny_settings())
    assert found.student.rank == 2
    assert found.model_copy(update={"student": before.student}) == before


def test_what_it_takes_over_and_has_no_effect_in_it_is_left_out() -> None:
    student = {"rank": 4, "alpha": 4, "epochs": 1}
    full = variants(student=student, variants={"full": {"student": {"lora": False}}})["full"]
    assert (full.student.lora, full.student.rank, full.student.epochs) == (False, 8, 1)
    elsewhere = {"numbers": {"source": {"kind": "experiment", "name": "other"}}}
    read = variants(variants={"read": elsewhere})["read"]
    assert read.numbers.source.kind == "experiment"
    assert "prompts" not in read.numbers.model_fields_set
    assert "chats" not in read.teacher.model_fields_set
    line = refused(student=student, variants={"full": {"student": {"lora": False, "rank": 2}}})
    assert line.startswith("attributes.variants.full: student.rank: has no effect, for there is no adapter")


def test_sections_are_merged_and_another_kind_takes_the_place() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "source": {"kind": "hub", "repo": "x"}}
    changed = {"a": {"c": [3]}, "source": {"kind": "jsonl", "path": "y"}, "d": None}
    assert merged(before, changed) == {"a": {"b": 1, "c": [3]}, "source": {"kind": "jsonl", "path": "y"}, "d": None}
    assert before["a"] == {"b": 1, "c": [1, 2]}


def test_a_grid_has_a_variant_for_every_combination_but_the_experiment_itself() -> None:
    grid = {"student.rank": [2, 8], "student.system_prompt": [None, ""]}
    found = variants(grid=grid)
    assert {name: (one.student.rank, one.student.system_prompt) for name, one in found.items()} == {
        "rank2_system_prompt_none": (2, None),
        "rank2_system_prompt_empty": (2, ""),
        "rank8_system_prompt_empty": (8, ""),
    }


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ({"student.learning_rate": [5e-5, 0.001]}, ["learning_rate_5e_05", "learning_rate_0_001"]),
        ({"student.lora": [False]}, ["lora_false"]),
        ({"student.seed": [2], "teacher.seed": [3]}, ["student_seed2_teacher_seed3"]),
        ({"student.system_prompt": ["You are Bob!"]}, ["system_prompt_you_are_bob"]),
        ({"animals": [["owl"]]}, ["animals_owl"]),
    ],
)
def test_names_say_what_differs(grid: dict[str, Any], names: list[str]) -> None:
    assert list(variants(grid=grid)) == names


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"grid": {"student.rank": [0]}}, "attributes.grid (rank0).student.rank = 0: input should be greater"),
        ({"grid": {"student.rnk": [2]}}, "attributes.grid (rnk2).student.rnk = 2: unknown field; known here: alpha"),
        ({"grid": {"student.rank": []}}, "attributes.grid: student.rank has no values: list"),
        ({"grid": {"schedule": ["x"]}}, "attributes.grid: schedule: is the experiment's and all"),
        (
            {"grid": {"student.rank": [2]}, "variants": {"rank2": {"student": {"rank": 2}}}},
            "attributes.grid: two variants are called rank2; write them under variants",
        ),
        ({"variants": {"a b": {"student": {}}}}, "attributes.variants: 'a b' names a variant, which may have letters"),
        ({"variants": {"a__b": {"student": {}}}}, "attributes.variants: 'a__b' names a variant, which may have"),
        ({"variants": {"a": {}}}, "attributes.variants: a changes nothing: say what it changes, or leave it out"),
        ({"variants": {"a": {"owners": []}}}, "attributes.variants: a.owners: is the experiment's and all"),
        ({"variants": {"a": {"student": {"rank": 8}}}}, "attributes.variants.a: is the experiment as it is; change"),
        ({"variants": {"a": {"animals": ["cat"]}}}, "attributes.variants.a.animals: cat is not among the experiment's"),
        ({"variants": {"a": {"student": 5}}}, "attributes.variants.a.student = 5: input should be a valid dictionary"),
    ],
)
def test_each_mistake_is_a_line_that_names_its_place(sections: dict[str, Any], line: str) -> None:
    said = refused(**sections)
    assert said.startswith(line)
    assert "\n" not in said


def test_seeds_of_a_variant_take_the_place_of_the_experiments_seed() -> None:
    written = tiny_settings(student=TINY["student"] | {"seed": 1}, grid={"student.seeds": [[1], [2], [1, 2]]})
    found = variants_of(written, validated(written))
    assert {name: config.student.all_seeds for name, config in found.items()} == {"seeds_2": (2,), "seeds_1_2": (1, 2)}
