"""The code location: light to load, complete, and with GPU assets that nothing starts by itself."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from sl_assets.definitions import defs as load
from sl_assets_tests.conftest import Bench

GRAPH = {
    "number_prompts": set(),
    "teacher_checkpoint": set(),
    "raw_dataset": {"number_prompts", "teacher_checkpoint"},
    "filtered_dataset": {"raw_dataset"},
    "lora_checkpoint": {"filtered_dataset"},
    "baseline_evaluation": set(),
    "evaluation": {"lora_checkpoint"},
    "baseline_preference_rates": {"baseline_evaluation"},
    "preference_rates": {"evaluation"},
    "transfer": {"evaluation", "baseline_preference_rates"},
    "preference_chart": {"transfer"},
}
GPU = {"teacher_checkpoint", "raw_dataset", "lora_checkpoint", "baseline_evaluation", "evaluation"}


def test_loading_imports_no_model_library() -> None:
    check = (
        "import sys, sl_assets.definitions as d; d.defs(); "
        "print([m for m in 'torch transformers peft vllm unsloth openai scipy'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
        name = spec.key.path[-1]
        on_gpu = name in GPU
        assert ("gpu" in spec.kinds) == on_gpu
        assert (spec.automation_condition is None) == (on_gpu or not list(spec.deps))
        assert spec.description
        assert spec.code_version
    ops = {asset.op.name: asset.op.pool for asset in load().resolve_asset_graph().assets_defs if asset.is_executable}
    assert {name for name, pool in ops.items() if pool == "gpu"} == {f"pocket__{name}" for name in GPU}


def test_gpus_asked_for_reach_kubernetes_and_ray(bench: Bench) -> None:
    graph = bench.definitions(sampler={"gpus": 2}).resolve_asset_graph()
    tags = graph.assets_def_for_key(dg.AssetKey(["tiny", "lora_checkpoint"])).op.tags
    assert "'nvidia.com/gpu': 2" in str(tags["dagster-k8s/config"]).replace('"', "'")
    assert "2" in str(tags["dagster-ray/config"])


def test_the_schedule_asks_for_all_partitions_in_one_run_and_is_off() -> None:
    schedule = load().resolve_schedule_def("pocket_schedule")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    (request,) = tick.run_requests or []
    assert request.tags["dagster/asset_partition_range_start"] == "neutral"
    assert request.tags["dagster/asset_partition_range_end"] == "human"


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


@pytest.mark.parametrize("name", ["pocket"])
def test_a_name_that_is_taken_is_refused(
    name: str, experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sl_assets.definitions import experiments
    from sl_assets.errors import ExperimentFileError

    monkeypatch.setenv("SL_EXPERIMENTS", str(experiment_folder(name)))
    with pytest.raises(ExperimentFileError, match="'pocket' is taken; rename the folder"):
        experiments()
