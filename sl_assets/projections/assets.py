"""Stage 5: activations of the datasets, their projections on persona vectors, and students on halves cut by them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import ExperimentConfig, ProjectionSettings
from sl_assets.engines.models import model_identity
from sl_assets.errors import DatasetError, LakeError
from sl_assets.evaluation.asking import ask_model
from sl_assets.evaluation.rates import preference_rates as rates_of
from sl_assets.graph import SAMPLING, ExperimentGraph
from sl_assets.personas.vectors import Vectors, load_vectors, vector_model
from sl_assets.projections.activations import ABOUT_FILE, About, encode_parts, read_about, read_rows, write_activations
from sl_assets.projections.comparison import split_comparison as compare_splits
from sl_assets.projections.cross import Open, cross_table
from sl_assets.projections.projecting import project
from sl_assets.projections.splits import (
    SOURCES,
    candidates,
    complement,
    cut_half,
    cut_to_size,
    equal_size,
    partition_problem,
    source_and_half,
)
from sl_assets.projections.statistics import difference_statistics
from sl_assets.report.charts import differences_by_layer, heatmap, histogram
from sl_assets.report.metadata import picture, preview
from sl_assets.step import Product, Step
from sl_assets.students.rows import draw_rows, examples_of
from sl_assets.students.training import train_adapter

STAGE = "5_projections"


def projections_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 5; none where the experiment has no ``projections``, no students without ``splits``."""
    settings = graph.config.projections
    if settings is None:
        return []
    split = [_splits(graph, settings), *_split_students(graph)] if graph.config.splits else []
    return [*_activations(graph, settings), *_projections(graph, settings), *split]


def _activations(graph: ExperimentGraph, settings: ProjectionSettings) -> list[dg.AssetsDefinition]:
    @graph.asset(
        stage=STAGE,
        uses=["base_model", "projections.kept"],
        deps=["filtered_dataset"],
        gpu=True,
        kinds=["huggingface"],
    )
    def activations(step: Step) -> Product:
        """Pooled hidden states of every filtered row: the one pass of a dataset through the model."""
        rows = step.read("filtered_dataset")
        dataset = step.lake.reads[step.place("filtered_dataset")]
        parts = encode_parts(graph.engines.encoder, rows, settings.kept, step.work, step.progress("rows"))
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

        conditions = dict(zip(SOURCES, (step.condition, NEUTRAL), strict=True))
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


def _splits(graph: ExperimentGraph, settings: ProjectionSettings) -> dg.AssetsDefinition:
    config = graph.config

    def each_row_in_one_half(step: Step) -> str | None:
        """Every row of a dataset is in exactly one of two complementary halves."""
        other = complement(step.split)
        sibling = step.place("projection_split", f"{step.condition}|{other}")
        if other not in config.splits or not step.lake.exists(sibling):
            return None
        rows = step.read("projections").filter(layer=settings.layer)
        ours, others = step.read("projection_split")["row_id"], step.lake.read_table(sibling)["row_id"]
        return partition_problem(rows, step.split, ours, others)

    @graph.asset(
        stage=STAGE,
        uses=["projections.layer", "projections.equal_halves", "projections.seed", "splits"],
        deps=["projections"],
        by="split",
        kinds=["polars"],
        check=each_row_in_one_half,
    )
    def projection_split(step: Step) -> Product:
        """The rows of one half of a dataset, cut by projection or drawn at random, and where it was cut."""
        rows = step.read("projections").filter(layer=settings.layer)
        source, _ = source_and_half(step.split)
        half, cut = cut_half(rows, step.split, settings.seed, step.condition)
        if half.is_empty():
            raise DatasetError(
                f"{step.experiment}/projection_split: {step.split} of {step.condition} has no rows; "
                f"leave {step.split} out of splits"
            )
        size = half.height
        if settings.equal_halves:
            size = equal_size(rows, config.splits, settings.seed, step.condition)
        chosen = cut_to_size(half, size, settings.seed, step.condition, step.split).with_columns(
            source=pl.lit(source),
            cut=pl.lit(cut, pl.Float64),
            dataset_version=pl.lit(rows.filter(source=source)["dataset_version"][0]),
        )
        everything = candidates(rows, step.split)["score"].to_numpy()
        chart = histogram({"all rows": everything, step.split: half["score"].to_numpy()}, "score", cut)
        metadata = {
            "rows": half.height,
            "used": int(chosen["used"].sum()),
            "of": len(everything),
            **({"cut": cut} if cut is not None else {}),
            "histogram": picture(chart),
        }
        return Product(step.write(chosen), metadata)

    return projection_split


def _split_students(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    config, student = graph.config, graph.config.student

    @graph.asset(
        stage=STAGE,
        uses=["base_model", "student"],
        deps=["projection_split"],
        by="split",
        gpu=True,
        kinds=["huggingface"],
    )
    def split_lora_checkpoint(step: Step) -> Product:
        """Adapter of a student trained on one half, in the same way as on a whole dataset."""
        half = step.read("projection_split").filter("used")
        source, _ = source_and_half(step.split)
        condition = dict(zip(SOURCES, (step.condition, NEUTRAL), strict=True))[source]
        dataset = step.read("filtered_dataset", condition)
        if step.lake.reads[step.place("filtered_dataset", condition)] != half["dataset_version"][0]:
            raise LakeError(
                f"{step.place('filtered_dataset', condition)} has changed since {step.partition} was cut: "
                "materialise activations, projections and projection_split again"
            )
        rows = dataset.join(half.select("row_id"), on="row_id", how="semi", maintain_order="left")
        rows = draw_rows(rows, student.max_rows, student.seed, str(step.partition))
        examples = examples_of(rows, student.system_prompt)
        return train_adapter(step, graph, examples, student, student.kept)

    @graph.asset(
        stage=STAGE,
        uses=[*SAMPLING, "evaluation"],
        deps=["split_lora_checkpoint"],
        by="split",
        gpu=True,
        kinds=["polars"],
    )
    def split_evaluation(step: Step) -> Product:
        """The answers of a half's student to the favourite-animal questions, for every kept epoch."""
        return ask_model(step, graph.engines, config, "split_lora_checkpoint")

    @graph.asset(stage=STAGE, uses=["animals"], deps=["split_evaluation"], by="split", kinds=["polars"])
    def split_preference_rates(step: Step) -> Product:
        """How often a half's student names each animal, with intervals over questions."""
        rates = rates_of(step.read("split_evaluation"), config.animals)
        own = rates.filter(animal=step.condition).sort("epoch")
        metadata = {"rate": own["rate"][-1], "rates": preview(rates.sort("rate", descending=True))}
        return Product(step.write(rates), metadata)

    @graph.asset(stage=STAGE, uses=["animals", "splits"], deps=["split_evaluation"], by=None, kinds=["polars"])
    def split_comparison(step: Step) -> Product:
        """Halves of one dataset against each other, question by question; p-values adjusted over animals."""
        places = {
            (animal, split): step.place("split_evaluation", f"{animal}|{split}")
            for animal in config.animals
            for split in config.splits
        }
        answers = {key: step.lake.read_table(place) for key, place in places.items() if step.lake.exists(place)}
        table = compare_splits(answers)
        shown = table.filter(half="high", other="low").select(
            "condition", "source", "epoch", "rate", "other_rate", "difference", "q_value"
        )
        return Product(
            step.write(table), {"students": len(answers), "high_against_low": preview(shown, rows=shown.height)}
        )

    return [split_lora_checkpoint, split_evaluation, split_preference_rates, split_comparison]
