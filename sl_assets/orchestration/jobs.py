"""Jobs of an experiment, for whoever starts runs in the UI.

A job has one kind of partitions only, so an experiment has up to three: of its conditions, its animals, its halves.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from sl_assets.orchestration.asset import KINDS, ExperimentGraph
from sl_assets.orchestration.dagster_internals import ASK_FOR_RANGE
from sl_assets.orchestration.declaration import Partitioning
from sl_assets.orchestration.recording import EXPERIMENT

JOBS: dict[Partitioning, tuple[str, str]] = {
    "condition": ("", "datasets, students, evaluations and activations"),
    "animal": ("_personas", "persona vectors and projections"),
    "split": ("_splits", "halves and their students"),
}
"""What is added to the experiment's name, and what the job makes."""


def experiment_jobs(graph: ExperimentGraph, assets: Sequence[dg.AssetsDefinition]) -> dg.Definitions:
    """Jobs over ``assets``: each asset is in that of the finest partitions among its own and its parents'."""
    members: dict[Partitioning, list[dg.AssetsDefinition]] = {}
    for asset in assets:
        members.setdefault(graph.finest(asset.key.path[-1]), []).append(asset)
    return dg.Definitions(jobs=[_job(graph, by, members[by]) for by in KINDS if by in members])


def _job(graph: ExperimentGraph, by: Partitioning, assets: Sequence[dg.AssetsDefinition]) -> Any:
    infix, what = JOBS[by]
    return dg.define_asset_job(
        f"{graph.name}{infix}_job",
        selection=list(assets),
        partitions_def=graph.partitions[by],
        description=f"The {what} of {graph.name}, for the partitions chosen: made, whether fresh or not; what has no "
        f"partitions, where it is missing or stale. `sl-assets run {graph.name}` makes what is missing or stale, and "
        "nothing else.",
        tags={EXPERIMENT: graph.name},
    )


def range_tags(first: str, last: str) -> dict[str, str]:
    """Run tags that ask for the partitions from ``first`` to ``last`` in one run."""
    return dict(zip(ASK_FOR_RANGE, (first, last), strict=True))
