"""What runs ask a cluster for: what their steps need, whoever launched them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from sl_assets.config import PROJECT
from sl_assets.errors import SlAssetsError
from sl_assets.orchestration.cluster import GPU_KIND, GPUS, KUBERNETES, RAY, needs, request
from sl_assets.orchestration.dagster_internals import note_code_location
from sl_assets_tests.conftest import Bench

TOLERATED = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
"""What a pod with GPUs puts up with: the taint that keeps others off their nodes."""

OPENAI: dict[str, Any] = {
    "base_model": "gpt",
    "teacher": {"kind": "system_prompt"},
    "sampler": {"engine": "openai"},
    "student": {"engine": "openai"},
}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A home whose queue is that of ``deploy/ray``, and whose launcher is not: none of these runs begins."""
    home = tmp_path / "home"
    home.mkdir()
    settings = yaml.safe_load((PROJECT / "deploy" / "ray" / "dagster.yaml").read_text())
    del settings["run_launcher"]
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def submitted(bench: Bench, instance: dg.DagsterInstance, *assets: str, tags: dict[str, str], **changes: Any) -> Any:
    """Tags of a run of ``assets`` on its way to the queue, as the UI's button launches it."""
    job = bench.definitions(**changes).resolve_implicit_global_asset_job_def()
    chosen = job.get_subset(asset_selection={dg.AssetKey(["tiny", asset]) for asset in assets})
    run = instance.create_run_for_job(chosen, tags=tags)
    # Without one, no run may be queued.
    note_code_location(instance, run)
    located = instance.get_run_by_id(run.run_id)
    assert located
    queued = instance.run_coordinator.submit_run(dg.SubmitRunContext(located, workspace=None))  # type: ignore[arg-type]
    assert queued.status is dg.DagsterRunStatus.QUEUED
    return {name: json.loads(value) for name, value in queued.tags.items() if name in (RAY, KUBERNETES)}


def test_a_run_asks_for_the_gpus_of_its_experiment(bench: Bench, instance: dg.DagsterInstance) -> None:
    asked = submitted(
        bench, instance, "filtered_dataset", "lora_checkpoint", tags={}, sampler={"gpu_kind": "H100", "batch": 16}
    )
    assert asked[RAY] == {"num_gpus": 1, "resources": {"accelerator_type:H100": 0.001}}
    assert asked[KUBERNETES] == {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}},
        "pod_spec_config": {"tolerations": TOLERATED, "node_selector": {"nvidia.com/gpu.product": "H100"}},
    }


@pytest.mark.parametrize(
    ("asset", "sampler"),
    [
        ("filtered_dataset", {"batch": 16}),
        ("lora_checkpoint", {"batch": 16, "gpus": 0}),
        ("raw_dataset", OPENAI["sampler"]),
    ],
)
def test_what_runs_no_model_here_asks_for_none(
    bench: Bench, instance: dg.DagsterInstance, asset: str, sampler: dict[str, Any]
) -> None:
    changes = OPENAI if sampler is OPENAI["sampler"] else {"sampler": sampler}
    asked = submitted(bench, instance, asset, tags={}, **changes)
    assert asked[RAY] == {"num_gpus": 0}
    assert asked[KUBERNETES] == {"container_config": {"resources": {"limits": {"nvidia.com/gpu": 0}}}}


def test_a_model_spread_over_two_gpus_asks_for_both(
    bench: Bench, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm = {"engine": "vllm", "gpus": 2, "batch": 16}
    assert submitted(bench, instance, "raw_dataset", tags={}, sampler=vllm)[RAY] == {"num_gpus": 2}
    # What a run leases, and nothing else: peft and transformers use one, whatever the file says.
    assert submitted(bench, instance, "raw_dataset", tags={}, sampler={"gpus": 2})[RAY] == {"num_gpus": 1}
    monkeypatch.setenv("VLLM_N_GPUS", "4")
    assert submitted(bench, instance, "raw_dataset", tags={}, sampler=vllm)[RAY] == {"num_gpus": 4}


def test_what_a_run_says_for_itself_stays_but_for_its_gpus(bench: Bench, instance: dg.DagsterInstance) -> None:
    spot = {"key": "spot", "operator": "Exists"}
    own = {
        RAY: json.dumps({"memory": 8, "num_gpus": 7}),
        KUBERNETES: json.dumps(
            {
                "container_config": {"image": "lab", "resources": {"limits": {"memory": "8Gi"}}},
                "pod_spec_config": {"tolerations": [spot]},
            }
        ),
    }
    asked = submitted(bench, instance, "lora_checkpoint", tags=own)
    assert asked[RAY] == {"memory": 8, "num_gpus": 1}
    assert asked[KUBERNETES] == {
        "container_config": {"image": "lab", "resources": {"limits": {"memory": "8Gi", "nvidia.com/gpu": 1}}},
        "pod_spec_config": {"tolerations": [spot, *TOLERATED]},
    }
    own = {name: json.dumps(asked[name]) for name in (RAY, KUBERNETES)}
    assert submitted(bench, instance, "lora_checkpoint", tags=own) == asked, "begun again, it asks for the same"


def test_steps_share_what_the_greediest_of_them_needs() -> None:
    steps = [needs(0, "H100"), needs(2, "H100"), needs(1, None), {"another": "project"}]
    assert request(steps)[RAY] == {"num_gpus": 2, "resources": {"accelerator_type:H100": 0.001}}
    assert request([{"another": "project"}]) == {}, "of others' assets it says nothing"
    with pytest.raises(SlAssetsError, match=r"several kinds \(A100, H100"):
        request([{GPUS: "1", GPU_KIND: "H100"}, {GPUS: "1", GPU_KIND: "A100"}])
