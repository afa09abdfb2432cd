"""The code location: light to load, complete, and with GPU assets that nothing starts by itself."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.asset_backfill import AssetBackfillData

from sl_assets.components import DEFS, declare
from sl_assets.definitions import defs as load
from sl_assets.definitions import surroundings
from sl_assets.errors import SlAssetsError
from sl_assets.experiments import find_experiments
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.resources import LakeResource
from sl_assets_tests.conftest import HALVES, SPLIT_ASSETS, TINY, Bench, tiny_config

GRAPH = {
    "number_prompts": set(),
    "teacher_checkpoint": set(),
    "raw_dataset": {"number_prompts", "teacher_checkpoint"},
    "filtered_dataset": {"raw_dataset"},
    "lora_checkpoint": {"filtered_dataset"},
    "baseline_evaluation": set(),
    "baseline_answer_probabilities": set(),
    "evaluation": {"lora_checkpoint"},
    "answer_probabilities": {"lora_checkpoint"},
    "baseline_preference_rates": {"baseline_evaluation", "baseline_answer_probabilities"},
    "preference_rates": {"evaluation", "answer_probabilities"},
    "transfer": {"evaluation", "answer_probabilities", "baseline_preference_rates"},
    "preference_chart": {"transfer"},
    "experiment_report": {
        "raw_dataset",
        "filtered_dataset",
        "projections",
        "projection_split",
        "lora_checkpoint",
        "evaluation",
        "answer_probabilities",
        "preference_rates",
        "transfer",
        "baseline_evaluation",
        "baseline_answer_probabilities",
        "baseline_preference_rates",
        "split_lora_checkpoint",
        "split_evaluation",
        "split_answer_probabilities",
        "split_preference_rates",
        "split_comparison",
    },
    "teacher_evaluation": {"teacher_checkpoint"},
    "persona_answers": set(),
    "persona_vector": {"persona_answers"},
    "activations": {"filtered_dataset"},
    "control_activations": {"activations"},
    "projections": {"activations", "control_activations", "persona_vector"},
    "cross_projections": {"activations", "persona_vector"},
    "projection_split": {"projections"},
    "split_lora_checkpoint": {"projection_split"},
    "split_evaluation": {"split_lora_checkpoint"},
    "split_answer_probabilities": {"split_lora_checkpoint"},
    "split_preference_rates": {"split_evaluation", "split_answer_probabilities"},
    "split_comparison": {"split_evaluation", "split_answer_probabilities"},
    "split_chart": {"transfer", "split_preference_rates"},
}
GPU = {
    "teacher_checkpoint", "raw_dataset", "lora_checkpoint", "baseline_evaluation", "evaluation", "teacher_evaluation",
    "persona_answers", "persona_vector", "activations", "split_lora_checkpoint", "split_evaluation",
    "baseline_answer_probabilities", "answer_probabilities", "split_answer_probabilities",
}  # fmt: skip


def test_the_pocket_graph() -> None:
    graph = load().resolve_asset_graph()
    found = {
        key.path[-1]: {parent.path[-1] for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
        if key.path[0] == "pocket"
    }
    assert found == GRAPH


def test_definitions_are_loadable() -> None:
    dg.Definitions.validate_loadable(load())


def test_gpu_assets_take_the_pool_and_only_cpu_assets_refresh_themselves() -> None:
    for spec in load().resolve_all_asset_specs():
        if spec.key.path[0] != "pocket":
            continue
        name = spec.key.path[-1]
        on_gpu = name in GPU
        assert ("gpu" in spec.kinds) == on_gpu
        by_name = name == "experiment_report"
        assert (spec.automation_condition is None) == (on_gpu or by_name or not list(spec.deps))
        assert spec.description
        assert "\n " not in spec.description, "indented, the UI would show it as code"
        assert spec.code_version
    assets = [asset for asset in load().resolve_asset_graph().assets_defs if asset.is_executable]
    ops = {asset.op.name: asset.op.pool for asset in assets if asset.op.name.startswith("pocket__")}
    assert {name for name, pool in ops.items() if pool == "sl_assets_gpu"} == {f"pocket__{name}" for name in GPU}


def backfill(bench: Bench, *partitions: str) -> dict[str, set[str]]:
    """Partitions by asset that a backfill of the whole graph, started in the UI for ``partitions``, asks for."""
    graph = bench.definitions(**HALVES).resolve_asset_graph()
    data = AssetBackfillData.from_asset_partitions(
        graph, list(partitions), list(graph.get_all_asset_keys()), bench.instance, time.time(), all_partitions=False
    )
    subsets = data.target_subset.partitions_subsets_by_asset_key
    return {key.path[-1]: set(subset.get_partition_keys()) for key, subset in subsets.items()}


def test_a_backfill_of_neutral_and_one_animal_covers_the_graph_and_no_other_animal(bench: Bench) -> None:
    asked = backfill(bench, "neutral", "owl")
    for name in ("raw_dataset", "lora_checkpoint", "persona_answers", "activations"):
        assert asked[name] == {"neutral", "owl"}
    for name in ("persona_vector", "projections"):
        assert asked[name] == {"owl"}
    for name in SPLIT_ASSETS:
        assert asked[name] == {"owl|animal_high", "owl|animal_low"}


def test_every_job_has_partitions_of_one_kind() -> None:
    every = {job.name: job for job in load().resolve_all_job_defs()}
    jobs = {name: every[name] for name in ("pocket_job", "pocket_personas_job", "pocket_splits_job")}
    members = {name: {key.path[-1] for key in job.asset_layer.executable_asset_keys} for name, job in jobs.items()}
    assert members["pocket_personas_job"] == {"persona_vector", "projections", "cross_projections"}
    assert members["pocket_splits_job"] == {
        *SPLIT_ASSETS, "split_answer_probabilities", "split_comparison", "split_chart",
    }  # fmt: skip
    assert set.union(*members.values()) == set(GRAPH) - {"experiment_report"}
    assert sum(map(len, members.values())) == len(GRAPH) - 1


def test_projections_refresh_when_all_they_read_is_there(bench: Bench) -> None:
    definitions = bench.definitions(**HALVES)
    tick = dg.evaluate_automation_conditions(definitions, bench.instance)
    assert bench.run("number_prompts", **HALVES).success
    datasets = ("teacher_checkpoint", "raw_dataset", "filtered_dataset", "activations", "persona_answers")
    assert bench.run(*datasets, first="neutral", last="owl", **HALVES).success
    assert bench.run("control_activations", **HALVES).success
    tick = dg.evaluate_automation_conditions(definitions, bench.instance, cursor=tick.cursor)
    assert not tick.get_requested_partitions(dg.AssetKey(["tiny", "projections"])), "there is no vector yet"
    assert bench.run("persona_vector", first="owl", **HALVES).success
    tick = dg.evaluate_automation_conditions(definitions, bench.instance, cursor=tick.cursor)
    assert tick.get_requested_partitions(dg.AssetKey(["tiny", "projections"])) == {"owl"}


def test_a_new_dataset_refreshes_its_own_filter_and_starts_no_gpu_asset(bench: Bench) -> None:
    definitions = bench.definitions()
    tick = dg.evaluate_automation_conditions(definitions, bench.instance)
    assert bench.run("number_prompts").success
    assert bench.run("raw_dataset", "teacher_checkpoint", first="owl").success
    tick = dg.evaluate_automation_conditions(definitions, bench.instance, cursor=tick.cursor)
    requested = {
        result.key.path[-1]: tick.get_requested_partitions(result.key)
        for result in tick.results
        if result.true_subset.size
    }
    assert requested == {"filtered_dataset": {"owl"}}


def test_new_settings_refresh_tables_and_charts_too(finished: Bench) -> None:
    def refreshed(cursor: Any = None, **changes: Any) -> Any:
        return dg.evaluate_automation_conditions(finished.definitions(**changes), finished.instance, cursor=cursor)

    before = refreshed()
    assert not before.total_requested
    tick = refreshed(before.cursor, filter={"maximum": 998})
    assert tick.get_requested_partitions(dg.AssetKey(["tiny", "filtered_dataset"])) == {"neutral", "owl", "wolf"}
    assert tick.total_requested == 3, "what reads it follows once it is made"
    assert not refreshed(tick.cursor, filter={"maximum": 998}).total_requested


@pytest.mark.parametrize("name", ["pocket"])
def test_a_name_that_is_taken_is_refused(
    name: str, experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SL_EXPERIMENTS", str(experiment_folder(name)))
    found = find_experiments()
    assert "'pocket' is taken; rename the folder" in str(found.problems[name])
    assert found.loaded[name].file.is_relative_to(DEFS), "the project's own is there"


@pytest.mark.parametrize(
    ("asset", "change"),
    [
        ("activations", {"student": {"system_prompt": "You are Bob."}}),
        ("steering_sweep", {"evaluation": {"system_prompt": "You are Bob."}}),
        ("teacher_checkpoint", {"student": {"engine": "unsloth"}}),
    ],
)
def test_what_an_asset_reads_is_in_its_version(asset: str, change: dict[str, dict[str, object]]) -> None:
    lake = {"lake": LakeResource(root="nowhere")}

    def version(**changes: object) -> str | None:
        config = tiny_config(**HALVES, steering={"layers": [1], "coefficients": [1.0]}, **changes)
        graph = dg.Definitions.merge(
            declare(ExperimentGraph("tiny", config)), dg.Definitions(resources=lake)
        ).resolve_asset_graph()
        return graph.get(dg.AssetKey(["tiny", asset])).code_version

    (section,) = change
    assert version(**{section: TINY[section] | change[section]}) != version()


@pytest.mark.parametrize(("root", "offered"), [("lake", set()), ("s3://bucket/lake", {"s3"})])
def test_what_the_location_offers_beside_its_assets(
    monkeypatch: pytest.MonkeyPatch, root: str, offered: set[str]
) -> None:
    """No ``io_manager``: what somebody else's assets return is none of the lake's."""
    monkeypatch.setenv("SL_DATA_LAKE", root)
    assert set(surroundings().resources or {}) == {"lake", "lake_io_manager"} | offered


def test_a_backfill_is_one_run_unless_the_file_or_the_machine_says_how_many_partitions_share_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shared(**settings: Any) -> int | None:
        graph = ExperimentGraph("tiny", tiny_config(**settings))
        declare(graph)
        policy = graph.definitions["raw_dataset"].backfill_policy
        assert policy
        return policy.max_partitions_per_run

    assert shared() is None
    assert shared(partitions_per_run=4) == 4
    monkeypatch.setenv("SL_PARTITIONS_PER_RUN", "2")
    assert shared() == shared(partitions_per_run=4) == 2
    monkeypatch.setenv("SL_PARTITIONS_PER_RUN", "0")
    assert shared(partitions_per_run=4) is None
    monkeypatch.setenv("SL_PARTITIONS_PER_RUN", "all")
    with pytest.raises(SlAssetsError, match="SL_PARTITIONS_PER_RUN = 'all': write a whole number"):
        shared()
