"""Stage 6: halves of the datasets, students trained on them, and their comparison."""

from collections.abc import Mapping

import dagster as dg
import polars as pl

from sl_assets.config import ExperimentConfig, ProjectionSettings
from sl_assets.config.names import condition_of, share_of, source_and_half
from sl_assets.errors import AbsentError, DatasetError
from sl_assets.lake.places import Place
from sl_assets.lake.records import Records, settings_behind_each
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.asset import ExperimentGraph, sampling
from sl_assets.orchestration.metadata import picture, preview
from sl_assets.orchestration.partition import Check, Finding, Product, Step
from sl_assets.stages.checking import student_checks
from sl_assets.stages.drawing import histogram
from sl_assets.stages.evaluation.asking import ask_model, weigh_answers
from sl_assets.stages.evaluation.assets import (
    STUDENTS,
    WEIGHING,
    answers_read,
    known_traits,
    names_counted,
    names_told,
    questions_use,
    rates_metadata,
    rates_use,
    read_rates,
    spellings_told,
)
from sl_assets.stages.evaluation.checking import answer_checks, probability_checks
from sl_assets.stages.evaluation.counting import counted
from sl_assets.stages.evaluation.rates import intervals_over
from sl_assets.stages.halves.comparison import split_comparison as compare_splits
from sl_assets.stages.halves.cutting import (
    candidates,
    complements,
    cut_half,
    cut_to_size,
    equal_size,
    parting_problem,
    with_strata,
)
from sl_assets.stages.students.training import train_students

STAGE = "6_halves"


def halves_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 6; none where the experiment has no ``splits``."""
    settings = graph.config.projections
    if settings is None or not graph.config.splits:
        return []
    return [_halves(graph, settings), *_students(graph)]


def _halves(graph: ExperimentGraph, settings: ProjectionSettings) -> dg.AssetsDefinition:
    config = graph.config

    def other_halves(place: Place) -> list[Place]:
        animal, split = keys_of(place.partition)
        others = complements(split)
        complete = others if set(others) <= set(config.splits) else []
        return [Place(place.experiment, place.table, f"{animal}|{other}") for other in complete]

    def each_row_in_one_half(step: Step) -> Finding:
        """Every row of a dataset is in exactly one of two complementary halves, or of all slices."""
        siblings = other_halves(step.place(step.asset))
        if not siblings or not all(map(step.lake.exists, siblings)):
            return Finding(None, {"note": "nothing to compare with"})
        rows = step.read("projections").filter(layer=settings.layer)
        ours = step.read("projection_split")["row_id"]
        others = [step.lake.read_table(place)["row_id"] for place in siblings]
        problem = parting_problem(rows, step.split, ours, others)
        again = "; materialise projections and projection_split again"
        counts = {"rows": len(ours), "rows of the other half": sum(map(len, others))}
        return Finding(problem and problem + again, counts)

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=[
            "projections.layer",
            "projections.equal_halves",
            "projections.seed",
            "splits",
            *(["projections.strata"] if settings.strata else []),
        ],
        deps=["projections"],
        by="split",
        kinds=["polars"],
        checks=[Check(each_row_in_one_half, beside=other_halves)],
    )
    def projection_split(step: Step) -> Product:
        """The rows of one half of a dataset, cut by projection or drawn at random, and where it was cut."""
        rows = step.read("projections").filter(layer=settings.layer)
        source, _ = source_and_half(step.split)
        version = rows.filter(source=source)["dataset_version"][0]
        if settings.strata:
            rows = with_strata(rows, dataset_of(step, config, version), settings.strata)
        half, cut = cut_half(rows, step.split, settings.seed, step.condition)
        if half.is_empty():
            raise DatasetError(
                f"{step.experiment}/projection_split: {step.split} of {step.condition} has no rows; "
                f"leave {step.split} out of splits"
            )
        size = half.height
        # A share has the size that its name says.
        if settings.equal_halves and share_of(source_and_half(step.split)[1]) is None:
            size = equal_size(rows, config.splits, settings.seed, step.condition)
        chosen = cut_to_size(half, size, settings.seed, step.condition, step.split).with_columns(
            source=pl.lit(source),
            cut=pl.lit(cut, pl.Float64),
            dataset_version=pl.lit(version),
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


def dataset_of(step: Step, config: ExperimentConfig, version: str) -> pl.DataFrame:
    """The dataset that a split is cut from, as it was when it was projected.

    Raises:
        AbsentError: it is another one since.
    """
    source, _ = source_and_half(step.split)
    condition = condition_of(source, step.condition)
    dataset = step.read(config.dataset, condition)
    if step.lake.reads[step.place(config.dataset, condition)] != version:
        raise AbsentError(
            f"{step.place(config.dataset, condition)} has changed since {step.partition} was cut: "
            "materialise activations, projections and projection_split again"
        )
    return dataset


def _students(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    config, student = graph.config, graph.config.half_student
    answers = {method: f"split_{name}" for method, name in answers_read(config).items()}

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["base_model", "student"],
        otherwise={"student": student} if config.split_student else {},
        deps=["projection_split"],
        by="split",
        gpu=True,
        kinds=["huggingface"],
        checks=student_checks(config),
    )
    def split_lora_checkpoint(step: Step) -> Product:
        """Adapter of a student trained on one half, as on a whole dataset unless ``split_student`` says otherwise; of
        every seed its own.
        """
        half = step.read("projection_split").filter("used")
        dataset = dataset_of(step, config, half["dataset_version"][0])
        rows = dataset.join(half.select("row_id"), on="row_id", how="semi", maintain_order="left")
        return train_students(step, graph.engines_for(step).trainer, rows, student)

    # Declared before what reads them, for a run keeps to this order.
    answered = _answers(graph)

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=rates_use(config),
        deps=list(answers.values()),
        by="split",
        kinds=["polars"],
        inputs=lambda *_: names_counted(config),
        told=names_told(config),
    )
    def split_preference_rates(step: Step) -> Product:
        """How often a half's students name each animal, with intervals over students and questions."""
        rates = read_rates(step, config, answers.values())
        return Product(step.write(rates), rates_metadata(rates, step.condition))

    def settings_of_students(_: Place, records: Records) -> dict[str, dict[str, str]]:
        """Whether two students may be compared is decided by these, beside their answers."""
        keys = graph.keys("split")
        return {
            STUDENTS[method]: settings_behind_each(records, {str(key): graph.place(asset, key) for key in keys})
            for method, asset in answers.items()
        }

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=[*rates_use(config), "splits"],
        deps=list(answers.values()),
        by=None,
        kinds=["polars"],
        inputs=lambda *where: settings_of_students(*where) | names_counted(config),
        told=names_told(config),
    )
    def split_comparison(step: Step) -> Product:
        """Halves of one dataset against each other, question by question; p-values adjusted over animals.

        Two halves whose students were made with different settings are not compared.
        """
        # First, so that of every student whose answers are read it is known how it was made.
        behind = settings_of_students(step.place(step.asset), step.lake.record)
        tables, students = [], set[str]()
        left_out = dict[tuple[str, str, str], None]()
        for method, asset in answers.items():
            settings = behind[STUDENTS[method]]
            found = step.read_existing(asset, list(settings))

            def alike(animal: str, split: str, other: str, settings: Mapping[str, str] = settings) -> bool:
                return settings[f"{animal}|{split}"] == settings[f"{animal}|{other}"]

            by_split = {
                (keys_of(key)[0], keys_of(key)[1]): counted(its, config.evaluation.count, config.words)
                for key, its in found.items()
            }
            compared, unlike = compare_splits(by_split, alike)
            tables.append(compared)
            students |= found.keys()
            left_out |= dict.fromkeys(unlike)
        table = pl.concat(tables)
        for animal, split, other in left_out:
            step.log(f"{step.name}: {split} and {other} of {animal} not compared, made with different settings")
        shown = table.filter(half="high", other="low").select(
            *("condition", "source", "epoch", "method", "counted", "students", "rate", "other_rate"),
            *("difference", "difference_lower", "difference_upper", "q_value"),
        )
        metadata = {
            "students": len(students),
            "not_compared": len(left_out),
            "high_against_low": preview(shown, rows=shown.height),
            "intervals": intervals_over(table.select(pl.min_horizontal("students", "other_students")).to_series()),
        }
        return Product(step.write(table), metadata)

    return [split_lora_checkpoint, *answered, split_preference_rates, split_comparison]


def _answers(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """Answers of the halves' students, drawn, weighed, or both."""
    config = graph.config
    anew = graph.looked_at_anew.get("split_lora_checkpoint", [])
    assets = []
    if "sampled" in config.evaluation.methods:

        @graph.asset(
            stage=STAGE,
            code="1",
            uses=[*sampling(config, "evaluation"), "evaluation", *config.own_words("questions")],
            deps=["split_lora_checkpoint"],
            by="split",
            gpu=True,
            kinds=["polars"],
            checks=[*answer_checks(config), *anew],
        )
        def split_evaluation(step: Step) -> Product:
            """The answers of a half's student to the favourite-animal questions, for every seed and kept epoch."""
            return ask_model(step, graph.engines_for(step), config, "split_lora_checkpoint", config.half_student)

        assets.append(split_evaluation)
    if "exact" in config.evaluation.methods:

        @graph.asset(
            stage=STAGE,
            code="1",
            uses=[*WEIGHING, *questions_use(config)],
            deps=["split_lora_checkpoint"],
            by="split",
            gpu=True,
            kinds=["polars"],
            inputs=known_traits(config),
            told=spellings_told,
            checks=[*probability_checks(config), *anew],
        )
        def split_answer_probabilities(step: Step) -> Product:
            """How likely a half's student answers each favourite-animal question with each animal, exactly."""
            return weigh_answers(step, graph.engines_for(step), config, "split_lora_checkpoint", config.half_student)

        assets.append(split_answer_probabilities)
    return assets
