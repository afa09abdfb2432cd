"""Stage 5: activations of the datasets, and their projections on persona vectors."""

from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import ProjectionSettings
from sl_assets.config.names import SOURCES, condition_of
from sl_assets.engines.transformers.models import check_layers
from sl_assets.errors import AbsentError, DatasetError
from sl_assets.lake.places import Place
from sl_assets.lake.records import Records, identity, settings_behind_each
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.declaration import Dep
from sl_assets.orchestration.metadata import picture, preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.drawing import differences_by_layer, heatmap, histogram
from sl_assets.stages.evaluation.assets import made_otherwise
from sl_assets.stages.personas.vectors import Vectors, load_vectors
from sl_assets.stages.projections.activations import encode_parts, read_rows, write_activations
from sl_assets.stages.projections.cross import Open, cross_table
from sl_assets.stages.projections.projecting import project
from sl_assets.stages.projections.statistics import difference_statistics

STAGE = "5_projections"


def projections_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 5; none where the experiment has no ``projections``."""
    settings = graph.config.projections
    if settings is None:
        return []
    return [*_activations(graph, settings), _projections(graph, settings), _cross_projections(graph, settings)]


def _activations(graph: ExperimentGraph, settings: ProjectionSettings) -> list[dg.AssetsDefinition]:
    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["base_model", "student.system_prompt", "projections.kept"],
        deps=[graph.config.dataset],
        gpu=True,
        kinds=["huggingface"],
    )
    def activations(step: Step) -> Product:
        """Pooled hidden states of every row that students may see: the one pass of a dataset through the model."""
        rows = step.read(graph.config.dataset)
        check_layers(graph.config, step.base_model)
        parts = encode_parts(
            graph.engines_for(step).encoder,
            rows,
            settings.kept,
            step.work,
            step.progress("rows"),
            graph.config.student.system_prompt,
        )
        with step.new_folder() as folder:
            write_activations(folder, rows, parts)
            size = sum(file.stat().st_size for file in folder.iterdir())
            version = step.put(folder)
        metadata = {"rows": rows.height, "layers": ", ".join(map(str, settings.kept)), "megabytes": size / 1e6}
        return Product(version, metadata, "transformers")

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=[],
        deps=[Dep("activations", only=NEUTRAL)],
        by=None,
        kinds=["polars"],
    )
    def control_activations(step: Step) -> Product:
        """Which neutral activations the animals are compared with.

        Animals depend on this note rather than on the neutral partition itself: a backfill of neutral would otherwise
        ask for every animal. As long as neutral has none it is empty, so that an animal's job succeeds without.
        """
        place = step.place("activations", NEUTRAL)
        if not step.lake.exists(place):
            step.log(f"{place} is not there yet: materialise it before the animals' projections")
            return Product(step.write(pl.DataFrame({"data_version": []})), {"activations": "none yet"})
        step.require_passed(place)
        step.lake.reads[place] = version = step.lake.version(place)
        return Product(step.write(pl.DataFrame({"data_version": [version]})), {"activations": version})

    return [activations, control_activations]


def _projections(graph: ExperimentGraph, settings: ProjectionSettings) -> dg.AssetsDefinition:
    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["projections.layer", "projections.kept", "projections.vector", "projections.state"],
        deps=["activations", "control_activations", "persona_vector"],
        by="animal",
        kinds=["polars"],
    )
    def projections(step: Step) -> Product:
        """Rows of the animal's and of the neutral dataset on the animal's persona vector, at every kept layer."""
        # Read for the lineage: it says which neutral activations these are.
        step.read("control_activations")
        _require_fitting(graph, settings, step, step.place("persona_vector"))
        with step.folder("persona_vector") as folder:
            vectors = load_vectors(folder)[settings.vector]

        def projected(source: str, condition: str) -> pl.DataFrame:
            place = step.place("activations", condition)
            _require_fitting(graph, settings, step, place)
            with step.folder("activations", condition) as folder:
                rows = read_rows(folder).with_columns(
                    source=pl.lit(source), dataset_version=pl.lit(dataset_of(step, graph.config.dataset, place))
                )
                return pl.concat(
                    rows.with_columns(
                        layer=layer,
                        projection=pl.Series(project(folder, settings.state, layer, vectors[[layer]])[:, 0]),
                    )
                    for layer in settings.kept
                )

        conditions = {source: condition_of(source, step.condition) for source in SOURCES}
        places = {name: step.place("activations", name) for name in conditions.values()}
        if others := made_otherwise(settings_behind_each(step.lake.record, places), NEUTRAL):
            raise AbsentError(
                f"{places[others[0]]} was made with other settings than neutral's, in itself or in what led to it: "
                "materialise both again"
            )
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

    return projections


def _cross_projections(graph: ExperimentGraph, settings: ProjectionSettings) -> dg.AssetsDefinition:
    def settings_of_parents(_: Place, records: Records) -> dict[str, dict[str, str]]:
        """Whether parents may be crossed is decided by these, beside what they hold."""
        parents = {str(parent): parent for parent in graph.parents("cross_projections", None)}
        return {"parents": settings_behind_each(records, parents)}

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["animals", "projections.layer", "projections.kept", "projections.vector", "projections.state"],
        deps=["activations", "persona_vector"],
        by=None,
        kinds=["polars"],
        inputs=settings_of_parents,
    )
    def cross_projections(step: Step) -> Product:
        """Every dataset on every persona vector: means, differences to neutral, divergences."""
        datasets: dict[str, Open] = {
            condition: partial(step.folder, "activations", condition)
            for condition in _comparable(graph, settings, step, "activations", NEUTRAL)
        }
        vectors: dict[str, Vectors] = {}
        for animal in _comparable(graph, settings, step, "persona_vector"):
            with step.folder("persona_vector", animal) as folder:
                vectors[animal] = load_vectors(folder)
        if not datasets or not vectors:
            raise DatasetError(
                f"{step.experiment}: no activations or no persona vectors that fit today's settings to cross yet; "
                "materialise activations and persona_vector"
            )
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

    return cross_projections


AGAIN = "materialise it again"


def _fits(graph: ExperimentGraph, settings: ProjectionSettings, step: Step, place: Place) -> bool:
    """Whether what is at ``place`` is of today's base model and, of activations, has the layers asked for."""
    record = step.lake.record(place)
    if record is None:
        return False
    model = identity(graph.settings(place.table, step.lake))["base_model"]
    layers = record.settings.get("projections.kept", settings.kept)
    if (prepared := graph.prepared) and record.parents.get(prepared) != step.lake.version(prepared):
        return False
    return identity(record.settings)["base_model"] == model and set(settings.kept) <= set(layers)


def _require_fitting(graph: ExperimentGraph, settings: ProjectionSettings, step: Step, place: Place) -> None:
    """Refuse a parent that does not fit; one that is not there is missed where it is read.

    Raises:
        AbsentError: it does not fit.
    """
    if step.lake.exists(place) and not _fits(graph, settings, step, place):
        raise AbsentError(f"{place} is of other layers or another model than {graph.config.base_model}'s now: {AGAIN}")


def _comparable(
    graph: ExperimentGraph, settings: ProjectionSettings, step: Step, table: str, control: str | None = None
) -> list[str]:
    """Partitions of ``table`` that may be crossed with one another; others are named in the log.

    They are of today's base model and layers, pass their checks, and were made with the settings of ``control`` (of the
    first where none is named), in themselves and in everything that led to them.
    """
    found = []
    for partition in step.usable(table, [key for key in graph.keys(graph.declaration(table).by) if key]):
        if _fits(graph, settings, step, step.place(table, partition)):
            found.append(partition)
        else:
            step.log(f"{step.place(table, partition)} left out, being of other layers or another model: {AGAIN}")
    behind = settings_behind_each(step.lake.record, {name: step.place(table, name) for name in found})
    others = made_otherwise(behind, control or next(iter(behind), ""))
    for name in others:
        step.log(f"{step.place(table, name)} left out, being made with other settings than the others: {AGAIN}")
    return [name for name in found if name not in others]


def dataset_of(step: Step, dataset: str, place: Place) -> str:
    """Version of the ``dataset`` whose rows the activations at ``place`` are of.

    Raises:
        AbsentError: they are of another.
    """
    record = step.lake.record(place)
    assert record
    version = record.parents.get(step.place(dataset, place.partition))
    if version is None:
        raise AbsentError(f"{place} is not of {dataset}: {AGAIN}")
    return version
