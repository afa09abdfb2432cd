"""What a run asks a cluster for: GPUs, as its steps need them, in the words of the launchers of Ray and Kubernetes.

Launchers read the tags of runs, and no step's; a run of the UI's button or of a backfill has none but its own. So every
asset says on its step what it needs, and a run is told on its way to the queue, whoever asked for it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from sl_assets.errors import SlAssetsError
from sl_assets.orchestration.dagster_internals import steps_tags

GPUS, GPU_KIND = "sl_assets/gpus", "sl_assets/gpu_kind"
"""Tags of a step: how many GPUs a run with it has, and of which kind, as the cluster calls it."""

RAY, KUBERNETES = "dagster-ray/config", "dagster-k8s/config"
"""Tags of a run that the launchers of dagster-ray and dagster-k8s read."""


def needs(gpus: int, kind: str | None) -> dict[str, str]:
    """Tags of a step of a run that has so many GPUs; none at all is said, too."""
    return {GPUS: str(gpus)} | ({GPU_KIND: kind} if gpus and kind else {})


def request(steps: Iterable[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """What a run asks for, by run tag; nothing where none of its steps says what it needs.

    Args:
        steps: tags of each step of the run, which shares its GPUs among them.

    Raises:
        SlAssetsError: they need GPUs of several kinds.
    """
    said = [step for step in steps if GPUS in step]
    if not said:
        return {}
    gpus = max(int(step[GPUS]) for step in said)
    kinds = sorted({step[GPU_KIND] for step in said if GPU_KIND in step})
    if len(kinds) > 1:
        raise SlAssetsError(
            f"one run cannot have GPUs of several kinds ({', '.join(kinds)}, by sampler.gpu_kind): choose assets of "
            "one experiment at a time"
        )
    ray: dict[str, Any] = {"num_gpus": gpus}
    pod: dict[str, Any] = {}
    if gpus:
        # Nodes with GPUs are commonly tainted, so that what needs none stays away.
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    for kind in kinds:
        # A node has one of the resource that is named after its GPUs; a part of it says on which the run may be.
        ray["resources"] = {f"accelerator_type:{kind}": 0.001}
        pod["node_selector"] = {"nvidia.com/gpu.product": kind}
    container = {"resources": {"limits": {"nvidia.com/gpu": gpus}}}
    return {RAY: ray, KUBERNETES: {"container_config": container} | ({"pod_spec_config": pod} if pod else {})}


class ClusterRunCoordinator(dg.QueuedRunCoordinator):
    """Dagster's queue, on the way to which every run is told what it asks a cluster for.

    What a run says for itself (memory, an image) stays; how many GPUs, and of which kind, its steps say.
    """

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Tag the run, and put it into the queue."""
        run = context.dagster_run
        asked = request(steps_tags(self._instance, run))
        tags = {name: json.dumps(_merged(json.loads(run.tags.get(name, "{}")), its)) for name, its in asked.items()}
        self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)


def _merged(own: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """``own`` with what is ``asked``, section by section; of lists, both."""
    merged = {**own, **asked}
    for name in own.keys() & asked.keys():
        if isinstance(own[name], dict) and isinstance(asked[name], dict):
            merged[name] = _merged(own[name], asked[name])
        elif isinstance(own[name], list) and isinstance(asked[name], list):
            # A run that is begun again has the tags of the one before it.
            merged[name] = [*own[name], *(one for one in asked[name] if one not in own[name])]
    return merged
