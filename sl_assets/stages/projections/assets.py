"""Stage 5: activations of the datasets, their projections on persona vectors, and students on halves cut by them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import ExperimentConfig, ProjectionSettings
from sl_assets.engines.transformers.models import model_identity
from sl_assets.errors import DatasetError, LakeError
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.metadata import picture, preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.halves.assets import split_assets
from sl_assets.stages.halves.cutting import (
    SOURCES,
    condition_of,
)
from sl_assets.stages.personas.vectors import Vectors, load_vectors, vector_model
from sl_assets.stages.projections.activations import (
    ABOUT_FILE,
    About,
    encode_parts,
    read_about,
    read_rows,
    write_activations,
)
from sl_assets.stages.projections.cross import Open, cross_table
from sl_assets.stages.projections.projecting import project
from sl_assets.stages.projections.statistics import difference_statistics
from sl_assets.stages.report.charts import differences_by_layer, heatmap, histogram

STAGE = "5_projections"


def projections_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 5; none where the experiment has no ``projections``, no students without ``splits``."""
    settings = graph.config.projections
    if settings is None:
        return []
    halves = split_assets(graph, settings, STAGE) if graph.config.splits else []
    return [*_activations(graph, settings), *_projections(graph, settings), *halves]


def _activations(graph: ExperimentGraph, settings: ProjectionSettings) -> list[dg.AssetsDefinition]:
    @graph.asset(
        stage=STAGE,
        uses=["base_model", "student.system_prompt", "projections.kept"],
        deps=["filtered_dataset"],
        gpu=True,
        kinds=["huggingface"],
    )
    def activations(step: Step) -> Product:
        """Pooled hidden states of every filtered row: the one pass of a dataset through the model."""
        rows = step.read("filtered_dataset")
        dataset = step.lake.reads[step.place("filtered_dataset")]
        parts = encode_parts(
            graph.engines.encoder,
            rows,
            settings.kept,
            step.work,
            step.progress("rows"),
            graph.config.student.system_prompt,
        )
        about = About(model_identity(graph.config.base_model), settings.kept, dataset)
        with step.lake.new_folder(step.place(step.asset)) as folder:
            write_activations(folder, rows, parts, about)
            size = sum(file.stat().st_size for file in folder.iterdir())
        metadata = {"rows": rows.height, "layers": ", ".join(map(str, settings.kept)), "megabytes": size / 1e6}
        return Product(step.lake.version(step.place(step.asset)), metadata, "transformers")

    neutral_alone = dg.SpecificPartitionsPartitionMapping([NEUTRAL])

    @graph.asset(
        stage=STAGE,
        uses=[],
        deps=[dg.AssetDep(graph.key("activations"), partition_mapping=neutral_alone)],
        by=None,
        kinds=["polars"],
    )
    def control_activations(step: Step) -> Product:
        """Which neutral activations the animals are compared with.

        Animals depend on this note rather than on the neutral partition itself: a backfill of neutral would otherwise
        ask for every animal.
        """
        place = step.place("activations", NEUTRAL)
        step.lake.reads[place] = version = step.lake.version(place)
        return Product(step.write(pl.DataFrame({"data_version": [version]})), {"activations": version})

    return [activations, control_activations]


def _projections(graph: ExperimentGraph, settings: ProjectionSettings) -> list[dg.AssetsDefinition]:
    config = graph.config

    @graph.asset(
        stage=STAGE,
        uses=["projections.layer", "projections.kept", "projections.vector", "projections.state"],
        deps=["activations", "control_activations", "persona_vector"],
        by="animal",
        kinds=["polars"],
    )
    def projections(step: Step) -> Product:
        """Rows of the animal's and of the neutral dataset on the animal's persona vector, at every kept layer."""
        # Read for the lineage: it says which neutral activations these are.
        step.read("control_activations")
        with step.lake.folder(step.place("persona_vector")) as folder:
            vectors = load_vectors(folder)[settings.vector]

        def projected(source: str, condition: str) -> pl.DataFrame:
            place = step.place("activations", condition)
            about = read_about(step.lake.read_file(place, ABOUT_FILE))
            if not fits(about):
                raise LakeError(f"{place} is of other layers or another model than {config.base_model}'s now: " + AGAIN)
            with step.lake.folder(place) as folder:
                rows = read_rows(folder).with_columns(source=pl.lit(source), dataset_version=pl.lit(about.dataset))
                return pl.concat(
                    rows.with_columns(
                        layer=layer,
                        projection=pl.Series(project(folder, settings.state, layer, vectors[[layer]])[:, 0]),
                    )
                    for layer in settings.kept
                )

        conditions = {source: condition_of(source, step.condition) for source in SOURCES}
        table = pl.concat(projected(source, condition) for source, condition in conditions.items())
        differences = difference_statistics(table)
        version = step.write(table)
        step.write(differences, "projection_differences")
        here = table.filter(layer=settings.layer)
        groups = {
            condition: here.filter(source=source)["projection"].to_numpy() for source, condition in conditions.items()
        }
        metadata = {
            "rows": here.height,
            "layer": settings.layer,
            "histogram": picture(histogram(groups, f"projection at layer {settings.layer}")),
            "by_layer": picture(differences_by_layer(differences)),
            "differences": preview(differences, rows=differences.height),
        }
        return Product(version, metadata)

    @graph.asset(
        stage=STAGE,
        uses=["animals", "projections.layer", "projections.kept", "projections.vector", "projections.state"],
        deps=["activations", "persona_vector"],
        by=None,
        kinds=["polars"],
    )
    def cross_projections(step: Step) -> Product:
        """Every dataset on every persona vector: means, differences to neutral, divergences."""
        datasets, vectors = _open_datasets(step, config.conditions, fits), _read_vectors(step, config)
        if not datasets or not vectors:
            raise DatasetError(f"{step.experiment}: no activations or no persona vectors to cross yet")
        directions = {animal: read[settings.vector] for animal, read in vectors.items()}
        table = cross_table(datasets, directions, settings.state, settings.kept)
        here = table.filter(layer=settings.layer)
        metadata: dict[str, Any] = {"datasets": len(datasets), "vectors": len(vectors), "preview": preview(here)}
        grid = here.filter(pl.col("dataset") != NEUTRAL).pivot("animal", index="dataset", values="effect_size")
        if not grid.is_empty():
            chart = heatmap(
                grid.drop("dataset").to_numpy(),
                rows=grid["dataset"].to_list(),
                columns=grid.columns[1:],
                labels=("persona vector", "dataset", "difference to neutral (pooled SD)"),
            )
            metadata["heatmap"] = picture(chart)
        return Product(step.write(table), metadata)

    def fits(about: About) -> bool:
        return about.base_model == model_identity(config.base_model) and set(settings.kept) <= set(about.layers)

    return [projections, cross_projections]


AGAIN = "materialise it again"


def _open_datasets(step: Step, conditions: Sequence[str], fits: Callable[[About], bool]) -> dict[str, Open]:
    """The activations there are, but for those of other layers or of another model, which are stale."""
    opened: dict[str, Open] = {}
    for condition in conditions:
        if not step.lake.exists(place := step.place("activations", condition)):
            continue
        if fits(read_about(step.lake.read_file(place, ABOUT_FILE))):
            opened[condition] = partial(step.lake.folder, place)
        else:
            step.log(f"{place} left out, being of other layers or another model: {AGAIN}")
    return opened


def _read_vectors(step: Step, config: ExperimentConfig) -> dict[str, Vectors]:
    """The persona vectors there are, but for those of another model, which are stale."""
    read: dict[str, Vectors] = {}
    for animal in config.animals:
        if not step.lake.exists(place := step.place("persona_vector", animal)):
            continue
        with step.lake.folder(place) as folder:
            if vector_model(folder) == model_identity(config.base_model):
                read[animal] = load_vectors(folder)
                continue
        del step.lake.reads[place]
        step.log(f"{place} left out, being of another model: {AGAIN}")
    return read
