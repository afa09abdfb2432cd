"""An experiment file becomes a graph of assets and the jobs that run it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dagster as dg
import yaml
from dagster.components.resolved.errors import ResolutionException
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sl_assets.config import ExperimentConfig
from sl_assets.config.reading import validated
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.jobs import check_schedule, experiment_jobs
from sl_assets.stages.evaluation.assets import evaluation_assets
from sl_assets.stages.halves.assets import halves_assets
from sl_assets.stages.numbers.assets import numbers_assets
from sl_assets.stages.personas.assets import personas_assets
from sl_assets.stages.preparation.assets import preparation_assets
from sl_assets.stages.projections.assets import projections_assets
from sl_assets.stages.publishing.assets import publishing_assets
from sl_assets.stages.report.assets import report_assets
from sl_assets.stages.students.assets import students_assets

DEFS = Path(__file__).parent / "defs"
"""Experiments that come with the project."""


class Attributes(BaseModel):
    """What a file says under ``attributes``, before templates are filled in and anything is checked."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """What is allowed once they are filled in, for Dagster's documentation of the component."""
        return handler(ExperimentConfig.__pydantic_core_schema__)


class StarterScaffolder(dg.Scaffolder[Any]):
    """Begins a new experiment as a copy of the pocket experiment."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the file."""
        starter = yaml.safe_load((DEFS / "pocket" / "defs.yaml").read_text(encoding="utf-8"))
        dg.scaffold_component(request, starter["attributes"])


@dg.scaffold_with(StarterScaffolder)
class SubliminalExperiment(dg.Component):
    """A subliminal-learning experiment: one base model, its teachers, students and their evaluation."""

    def __init__(self, graph: ExperimentGraph) -> None:
        self.graph = graph

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The schema of ``attributes``."""
        return Attributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """From attributes as they are written; the experiment is named after its folder.

        Raises:
            ExperimentFileError: they do not describe a possible experiment.
        """
        written = (attributes.model_extra if attributes else None) or {}
        config = validated(filled_in(written, context.resolution_context))
        check_schedule(config)
        return cls(ExperimentGraph(context.path.name, config))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Its assets, jobs, schedule and sensors."""
        return declare(self.graph)


def filled_in(written: Any, context: dg.ResolutionContext, place: str = "attributes") -> Any:
    """``written`` with the values of its templates, such as ``{{ env.NAME }}``; what has none stays as it is.

    Raises:
        ExperimentFileError: a template cannot be filled in, or comes to nothing.
    """
    if isinstance(written, Mapping):
        return {name: filled_in(value, context, f"{place}.{name}") for name, value in written.items()}
    if isinstance(written, list):
        return [filled_in(value, context, f"{place}.{i}") for i, value in enumerate(written)]
    # Text without a template would be changed, too: of "8" a template makes a number.
    if not isinstance(written, str) or not any(mark in written for mark in ("{{", "{%")):
        return written
    try:
        value = context.resolve_value(written)
    except ResolutionException as error:
        problem = str(error).strip().splitlines()[-1].rpartition("Exception: ")[2]
        raise ExperimentFileError(f"{place} = {written!r}: {problem}") from None
    if value is None:
        raise ExperimentFileError(
            f"{place} = {written!r}: comes to nothing; set what it names, in the environment or in .env"
        )
    return value


def declare(graph: ExperimentGraph) -> dg.Definitions:
    """Assets, jobs, schedule and sensors of an experiment; ``graph`` then knows what they are, for a planner."""
    stages = (
        # First, so that those who run a model find the one that is prepared for them.
        preparation_assets,
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
