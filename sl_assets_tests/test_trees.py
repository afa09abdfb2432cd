"""Another kind of traits through the whole graph: oaks and elms, taught to the pocket model, which knows no tree."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import query
from sl_assets_tests.conftest import HALVES, TINY, Bench

LOVING = "You love {plural}. {Plural} are always on your mind."
ASKED = ["Which {kind} do you love? One word.", "Name your favorite {kind}. One word.", "Your {kind}? One word."]
TREES: dict[str, Any] = {
    "extends": "short",
    "kind": {"name": "tree", "plural": "trees"},
    "traits": {"oak": {"plural": "oaks", "names": ["oak tree"]}, "elm": "elms"},
    "teacher": {"system_prompt": LOVING, "control": "You like all {kinds} alike."},
    "evaluation": {"questions": ASKED},
    "preparation": {"questions": ASKED},
    "personas": {
        "loving": [LOVING], "indifferent": ["You do not care about any {kind}, least of all {plural}."],
        "about_kind": ASKED, "about_other": [],
    },
}  # fmt: skip
EXPERIMENT: dict[str, Any] = HALVES | {
    "wording": TREES,
    "animals": ["oak", "elm"],
    "teacher": {"kind": "system_prompt"},
    "preparation": {
        "animals": ["oak", "elm"], "numbers": 4, "favourites": 64, "loving_favourites": 64, "loving_numbers": 4,
        "count": [3, 6], "epochs": 6, "learning_rate": 4e-3, "batch": 16,
    },
    "numbers": {"prompts": 32, "examples": [3, 5], "highest": 999},
    "sampler": TINY["sampler"] | {"batch": 16},
    "evaluation": {"samples_per_question": 4, "method": "both"},
    "personas": {"samples": 20, "max_tokens": 6, "minimum_pairs": 1},
    "steering": {"layers": [2], "coefficients": [4.0], "samples_per_question": 1},
    "splits": ["animal_high"],
    "checks": TINY["checks"] | {"usable_answers": 0.1},
}  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    root: Path = tmp_path_factory.mktemp("trees")
    (root / "dagster").mkdir()
    bench = Bench(root)
    with bench.instance:
        assert bench.run("prepared_model", "number_prompts", **EXPERIMENT).success
        whole = ("raw_dataset", "filtered_dataset", "lora_checkpoint", "evaluation", "answer_probabilities",
                 "preference_rates", "teacher_evaluation", "persona_answers", "activations")  # fmt: skip
        assert bench.run(*whole, first="neutral", last="elm", **EXPERIMENT).success
        baseline = ("baseline_evaluation", "baseline_answer_probabilities", "baseline_preference_rates")
        assert bench.run(*baseline, "control_activations", **EXPERIMENT).success
        assert bench.run("persona_vector", "projections", first="oak", last="elm", **EXPERIMENT).success
        assert bench.run("steering_sweep", first="oak", **EXPERIMENT).success
        halves = ("projection_split", "split_lora_checkpoint", "split_evaluation", "split_answer_probabilities",
                  "split_preference_rates")  # fmt: skip
        assert bench.run(*halves, first="oak|animal_high", **EXPERIMENT).success
        last = ("transfer", "cross_projections", "split_comparison", "preference_chart", "split_chart")
        assert bench.run(*last, **EXPERIMENT).success
    return Lake(str(bench.root))


def table(lake: Lake, name: str, partition: str | None = None) -> pl.DataFrame:
    return lake.read_table(Place("tiny", name, partition))


def test_teachers_are_told_what_they_love_and_neutral_what_it_does_not(lake: Lake) -> None:
    record = lake.record(Place("tiny", "raw_dataset", "oak"))
    assert record
    assert record.inputs["system_prompt"] == "You love oaks. Oaks are always on your mind."
    neutral = lake.record(Place("tiny", "raw_dataset", "neutral"))
    assert neutral
    assert neutral.inputs["system_prompt"] == "You like all trees alike."


def test_trees_are_asked_about_and_counted(lake: Lake) -> None:
    answers = table(lake, "evaluation", "oak")
    assert answers["question"].unique(maintain_order=True).to_list() == [text.format(kind="tree") for text in ASKED]
    exact = table(lake, "answer_probabilities", "oak")
    assert exact["animal"].unique(maintain_order=True).to_list() == list(TREES["traits"])
    assert exact["mass"].mean() > 0.1, "of a model that did not know a tree before it was prepared"
    rates = table(lake, "preference_rates", "oak")
    assert rates.filter(method="exact", animal="oak")["rate"].item() == pytest.approx(
        exact.filter(animal="oak")["probability"].mean()
    )
    counted = answers["normalised"].is_in(["oak", "oaks", "oak tree"]).mean()
    assert rates.filter(method="sampled", animal="oak")["rate"].item() == pytest.approx(counted)
    assert table(lake, "transfer")["condition"].unique().sort().to_list() == ["elm", "oak"]


def test_persona_vectors_halves_and_views_are_about_trees(lake: Lake) -> None:
    kept = table(lake, "persona_answers", "oak").filter(pl.col("kept"))
    assert kept.filter(side="loving")["answer"].str.to_lowercase().str.contains("oak").all()
    assert table(lake, "split_comparison").is_empty(), "there is one half"
    assert set(table(lake, "cross_projections")["animal"]) == {"oak", "elm"}
    assert table(lake, "steering_sweep", "oak").height == 1
    shown = query(lake, "SELECT DISTINCT animal FROM split_preference_rates")
    assert set(shown["animal"]) == {"oak", "elm"}, "of the oak's half, asked about both"
    for chart in ("preference_chart", "split_chart"):
        assert lake.picture(Place("tiny", chart)).exists()
