"""Stage 3: what students say their favourite animal is, and how often."""

from collections.abc import Mapping

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import FinetunedTeacher, GenerateSource
from sl_assets.lake.places import Place
from sl_assets.lake.records import Records, settings_behind_each
from sl_assets.orchestration.asset import SAMPLING, ExperimentGraph
from sl_assets.orchestration.metadata import preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.evaluation.asking import ask_model, ask_teacher
from sl_assets.stages.evaluation.checking import answer_checks, teacher_checks
from sl_assets.stages.evaluation.rates import preference_rates as rates_of
from sl_assets.stages.evaluation.rates import transfer_table

STAGE = "3_evaluation"


def evaluation_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 3."""
    config = graph.config

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=[*SAMPLING, "evaluation"],
        by=None,
        gpu=True,
        kinds=["polars"],
        checks=answer_checks(config),
    )
    def baseline_evaluation(step: Step) -> Product:
        """The untouched base model's answers to the favourite-animal questions."""
        return ask_model(step, graph.engines_for(step), config, None)

    @graph.asset(stage=STAGE, code="1", uses=["animals"], deps=["baseline_evaluation"], by=None, kinds=["polars"])
    def baseline_preference_rates(step: Step) -> Product:
        """How often the base model names each animal."""
        rates = rates_of(step.read("baseline_evaluation"), config.animals)
        return Product(step.write(rates), {"rates": preview(rates.sort("rate", descending=True))})

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=[*SAMPLING, "evaluation"],
        deps=["lora_checkpoint"],
        gpu=True,
        kinds=["polars"],
        checks=answer_checks(config),
    )
    def evaluation(step: Step) -> Product:
        """The student's answers to the favourite-animal questions, for every kept epoch."""
        return ask_model(step, graph.engines_for(step), config, "lora_checkpoint")

    @graph.asset(stage=STAGE, code="1", uses=["animals"], deps=["evaluation"], kinds=["polars"])
    def preference_rates(step: Step) -> Product:
        """How often the student names each animal, with intervals over questions."""
        rates = rates_of(step.read("evaluation"), config.animals)
        own = rates.filter(animal=step.condition).sort("epoch")
        metadata = {"rates": preview(rates.sort("rate", descending=True))}
        return Product(step.write(rates), metadata | ({"rate": own["rate"][-1]} if own.height else {}))

    def settings_of_students(_: Place, records: Records) -> dict[str, dict[str, str]]:
        """Whether two students may be compared is decided by these, beside their answers."""
        places = {name: graph.place("evaluation", name) for name in config.conditions}
        return {"students": settings_behind_each(records, places)}

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["animals"],
        deps=["evaluation", "baseline_preference_rates"],
        by=None,
        kinds=["polars"],
        inputs=settings_of_students,
    )
    def transfer(step: Step) -> Product:
        """Every student compared with the neutral one, question by question; p-values adjusted over students.

        Students that were made with other settings than the neutral one are left out.
        """
        behind = settings_of_students(step.place(step.asset), step.lake.record)["students"]
        others = made_otherwise(behind, NEUTRAL)
        # They are left out for what they are now, so what they are is an input.
        places = [step.place("evaluation", name) for name in others]
        step.lake.reads.update((place, step.lake.version(place)) for place in places)
        if others:
            step.log(f"{step.name}: left out, for neutral's student was made with other settings: {', '.join(others)}")
        # A student whose answers fail a check is left out, too.
        answers = step.read_existing("evaluation", [name for name in behind if name not in others])
        others += [name for name in behind if name not in (*others, *answers)]
        table = transfer_table(answers, config.animals, step.read("baseline_preference_rates"))
        own = table.filter(pl.col("condition") == pl.col("animal"))
        shown = own.select("animal", "epoch", "neutral_rate", "rate", "ratio", "q_value")
        metadata = {"students": own["condition"].n_unique(), "own_animals": preview(shown)}
        return Product(step.write(table), metadata | ({"left_out": ", ".join(others)} if others else {}))

    assets = [baseline_evaluation, baseline_preference_rates, evaluation, preference_rates, transfer]
    return [*assets, _teacher_evaluation(graph)] if isinstance(config.numbers.source, GenerateSource) else assets


def _teacher_evaluation(graph: ExperimentGraph) -> dg.AssetsDefinition:
    config = graph.config

    # Partitioned like the datasets, neutral included: a backfill of the whole graph needs roots that agree.
    @graph.asset(
        stage=STAGE,
        code="1",
        uses=[*SAMPLING, "teacher", "evaluation.max_tokens", "evaluation.seed"],
        deps=["teacher_checkpoint"] if isinstance(config.teacher, FinetunedTeacher) else [],
        gpu=True,
        kinds=["polars"],
        checks=teacher_checks(config),
    )
    def teacher_evaluation(step: Step) -> Product:
        """The answers of the teacher that writes the numbers to the favourite-animal questions; neutral has none."""
        return ask_teacher(step, graph.engines_for(step), config)

    return teacher_evaluation


def made_otherwise(behind: Mapping[str, str], control: str) -> list[str]:
    """Those that were made with other settings than ``control``, in themselves or in anything that led to them.

    Args:
        behind: fingerprints of all these settings (`settings_behind_each`).
        control: key of what the others are compared with; without it nothing is left out.
    """
    return [name for name, settings in behind.items() if settings != behind.get(control, settings)]
