"""An experiment file becomes a graph of assets and the jobs that run it."""

from pathlib import Path
from typing import Self

import dagster as dg
from pydantic import BaseModel

from sl_assets.config import ExperimentConfig
from sl_assets.config.reading import read_experiment
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.jobs import check_schedule, experiment_jobs
from sl_assets.stages.evaluation.assets import evaluation_assets
from sl_assets.stages.halves.assets import halves_assets
from sl_assets.stages.numbers.assets import numbers_assets
from sl_assets.stages.personas.assets import personas_assets
from sl_assets.stages.projections.assets import projections_assets
from sl_assets.stages.publishing.assets import publishing_assets
from sl_assets.stages.report.assets import report_assets
from sl_assets.stages.students.assets import students_assets


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
    """Assets, jobs, schedule and sensors of one experiment, keys prefixed by ``name``."""
    return declare(ExperimentGraph(name, config))


def declare(graph: ExperimentGraph) -> dg.Definitions:
    """The definitions of `experiment_definitions`; what they are is declared to ``graph``, too, for a planner."""
    stages = (
        numbers_assets,
        students_assets,
        evaluation_assets,
        personas_assets,
        projections_assets,
        halves_assets,
        report_assets,
    )
    assets = [asset for stage in stages for asset in stage(graph)]
    # Publishing is in no job: nothing but a person's wish may start it.
    offered = dg.Definitions(assets=[*assets, *publishing_assets(graph)])
    return dg.Definitions.merge(offered, experiment_jobs(graph, assets))


def read_checked(file: Path) -> ExperimentConfig:
    """The experiment that ``file`` describes, checked as far as that can be done without its models and data.

    Raises:
        ExperimentFileError: as `read_experiment`; or Dagster does not understand its schedule.
    """
    config = read_experiment(file)
    try:
        check_schedule(config)
    except ExperimentFileError as error:
        raise ExperimentFileError(f"{file}: {error}") from None
    return config


def experiment_files(folder: Path) -> dict[str, Path]:
    """Experiment files below ``folder`` by experiment name."""
    return {file.parent.name: file for file in sorted(folder.glob("*/defs.yaml"))}
