"""An experiment file becomes a graph of assets, a job, a schedule."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel

from sl_assets.config import ExperimentConfig
from sl_assets.evaluation.assets import evaluation_assets
from sl_assets.graph import ExperimentGraph, Partitioning
from sl_assets.numbers.assets import numbers_assets
from sl_assets.personas.assets import personas_assets
from sl_assets.projections.assets import projections_assets
from sl_assets.report.assets import report_assets
from sl_assets.students.assets import students_assets


class SubliminalExperiment(dg.Component):
    """A subliminal-learning experiment: one base model, its teachers, students and their evaluation."""

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The schema of ``attributes``."""
        return ExperimentConfig

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """From validated attributes."""
        assert isinstance(attributes, ExperimentConfig)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The experiment is named after its folder."""
        return experiment_definitions(context.path.name, self.config)


def experiment_definitions(name: str, config: ExperimentConfig) -> dg.Definitions:
    """Assets, job and schedule of one experiment, keys prefixed by ``name``."""
    graph = ExperimentGraph(name, config)
    stages = (
        numbers_assets,
        students_assets,
        evaluation_assets,
        personas_assets,
        projections_assets,
        report_assets,
    )
    assets = [asset for stage in stages for asset in stage(graph)]
    jobs = [_job(graph, by, members) for by, members in _by_partitioning(graph, assets).items()]
    return dg.Definitions(assets=assets, jobs=jobs, schedules=[_schedule(graph, jobs[0])])


def _by_partitioning(
    graph: ExperimentGraph, assets: Sequence[dg.AssetsDefinition]
) -> dict[Partitioning, list[dg.AssetsDefinition]]:
    """Assets by the finest partitions among theirs and their parents': a job has one kind of partitions only."""
    fineness: dict[dg.AssetKey, int] = {}
    kinds = list(graph.partitions)
    found: dict[Partitioning, list[dg.AssetsDefinition]] = {}
    for asset in assets:
        (spec,) = asset.specs
        own = kinds.index(
            next(by for by in kinds if graph.partitions[by] == spec.partitions_def or not spec.partitions_def)
        )
        fineness[spec.key] = max([own, *(fineness[dep.asset_key] for dep in spec.deps)])
        found.setdefault(kinds[fineness[spec.key]], []).append(asset)
    return found


def _job(graph: ExperimentGraph, by: Partitioning, assets: Sequence[dg.AssetsDefinition]) -> Any:
    infix, what = {
        "condition": ("", "datasets, students, evaluations and activations"),
        "animal": ("_personas", "persona vectors and projections"),
        "split": ("_splits", "halves and their students"),
    }[by]
    return dg.define_asset_job(
        f"{graph.name}{infix}_job",
        selection=list(assets),
        partitions_def=graph.partitions[by],
        description=f"The {what} of {graph.name}, for the partitions chosen.",
        tags={"experiment": graph.name},
    )


def _schedule(graph: ExperimentGraph, job: Any) -> dg.ScheduleDefinition:
    """Rematerialise all partitions in one run, so that the model loads once."""

    @dg.schedule(
        name=f"{graph.name}_schedule",
        cron_schedule=graph.config.schedule,
        job=job,
        description=f"Rematerialise every partition of {graph.name}.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def rematerialise(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        first, *_, last = graph.config.conditions
        return dg.RunRequest(tags=range_tags(first, last))

    return rematerialise


def range_tags(first: str, last: str) -> dict[str, str]:
    """Run tags that ask for the partitions from ``first`` to ``last`` in one run."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def experiment_files(folder: Path) -> dict[str, Path]:
    """Experiment files below ``folder`` by experiment name."""
    return {file.parent.name: file for file in sorted(folder.glob("*/defs.yaml"))}
