"""An experiment file becomes a graph of assets and the jobs that run it; each of its variants becomes one beside it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import dagster as dg
import yaml
from dagster.components.resolved.errors import ResolutionException
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sl_assets.config import ExperimentConfig, ExperimentSource
from sl_assets.config.reading import validated
from sl_assets.config.variants import variant_name, variants_of
from sl_assets.config.wording import located
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.jobs import experiment_jobs
from sl_assets.orchestration.ticks import check_schedule, experiment_ticks
from sl_assets.stages.evaluation.assets import evaluation_assets
from sl_assets.stages.halves.assets import halves_assets
from sl_assets.stages.numbers.assets import numbers_assets
from sl_assets.stages.personas.assets import personas_assets
from sl_assets.stages.preparation.assets import preparation_assets
from sl_assets.stages.projections.assets import projections_assets
from sl_assets.stages.publishing.assets import publishing_assets
from sl_assets.stages.report.assets import report_assets, variants_assets
from sl_assets.stages.students.assets import students_assets

DEFS = Path(__file__).parent / "defs"
"""Experiments that come with the project."""

Find = Callable[[str], ExperimentGraph]
"""Another experiment as it is declared, by its name."""


def find_none(name: str) -> ExperimentGraph:
    """Of a file that is read by itself, there is no other experiment.

    Raises:
        ExperimentFileError: always.
    """
    raise ExperimentFileError(f"attributes.numbers.source.name = {name!r}: no such experiment is known here")


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

    def __init__(self, graph: ExperimentGraph, variants: Mapping[str, ExperimentConfig]) -> None:
        self.graph = graph
        self.variants = {name: ExperimentGraph(variant_name(graph.name, name), its) for name, its in variants.items()}
        self.find: Find = find_none

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
        written = with_wordings_in(context.path, filled_in(written, context.resolution_context))
        config = validated(written)
        check_schedule(config)
        return cls(ExperimentGraph(context.path.name, config), variants_of(written, config))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Its assets, jobs, schedule and sensors, and those of its variants."""
        return self._declared

    @cached_property
    def _declared(self) -> dg.Definitions:
        """Declared once, for the experiment and its variants are looked up apart."""
        return declare_with_variants(self.graph, self.variants, self.find)


def with_wordings_in(folder: Path, written: Mapping[str, Any]) -> dict[str, Any]:
    """``written`` with paths of wordings that start at ``folder``, the experiment's; variants' and the grid's, too."""
    found = dict(written)
    if "wording" in found:
        found["wording"] = located(found["wording"], folder)
    if isinstance(variants := found.get("variants"), Mapping):
        found["variants"] = {
            name: with_wordings_in(folder, changes) if isinstance(changes, Mapping) else changes
            for name, changes in variants.items()
        }
    if isinstance(grid := found.get("grid"), Mapping) and isinstance(grid.get("wording"), list):
        found["grid"] = {**grid, "wording": [located(value, folder) for value in grid["wording"]]}
    return found


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


def declare_with_variants(
    graph: ExperimentGraph, variants: Mapping[str, ExperimentGraph], find: Find = find_none
) -> dg.Definitions:
    """`declare` an experiment and its ``variants``, which share what they have alike, and what compares them.

    Raises:
        ExperimentFileError: another experiment that one of them names is none, or a variant changes no asset.
    """
    assets = _declared(graph, find)
    for name, variant in variants.items():
        variant.borrow_from(graph)
        try:
            _declared(variant, find)
        except ExperimentFileError as error:
            place = f"attributes.variants.{name}" if name in graph.config.variants else f"attributes.grid ({name})"
            raise ExperimentFileError(*(line.replace("attributes", place, 1) for line in error.lines)) from None
        if not variant.declared:
            raise ExperimentFileError(
                f"attributes: variant {name} changes nothing that an asset is made of; leave it out"
            )
        graph.known.update(variant.known)
    assets += variants_assets(graph, variants)
    of_variants = (_with_jobs(its, list(its.definitions.values())) for its in variants.values())
    ticks = experiment_ticks(graph, list(variants.values()))
    return dg.Definitions.merge(_with_jobs(graph, assets), *of_variants, ticks)


def declare(graph: ExperimentGraph, find: Find = find_none) -> dg.Definitions:
    """Assets, jobs, schedule and sensors of an experiment; ``graph`` then knows what they are, for a planner."""
    return declare_with_variants(graph, {}, find)


def _declared(graph: ExperimentGraph, find: Find) -> list[dg.AssetsDefinition]:
    """The experiment's own assets, parents first."""
    source = graph.config.numbers.source
    # A variant's is known already, unless it has one of its own.
    if isinstance(source, ExperimentSource) and source.experiment not in graph.known.keys() - {graph.name}:
        graph.borrow_from(find(source.name))
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
        publishing_assets,
    )
    every = [asset for stage in stages for asset in stage(graph)]
    return [asset for asset in every if asset.key.path[0] == graph.name]


def _with_jobs(graph: ExperimentGraph, assets: Sequence[dg.AssetsDefinition]) -> dg.Definitions:
    # In no job is what nothing but a person's wish may start.
    run = [asset for asset in assets if graph.declared[asset.key.path[-1]].automatic]
    return dg.Definitions.merge(dg.Definitions(assets=list(assets)), experiment_jobs(graph, run))
