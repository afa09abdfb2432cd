"""Stage 3: what students say their favourite animal is, and how often."""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.lake.lineage import read_lineage, settings_behind
from sl_assets.orchestration.asset import SAMPLING, ExperimentGraph
from sl_assets.orchestration.metadata import preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.evaluation.asking import ask_model
from sl_assets.stages.evaluation.rates import preference_rates as rates_of
from sl_assets.stages.evaluation.rates import transfer_table

STAGE = "3_evaluation"


def evaluation_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 3."""
    config = graph.config

    @graph.asset(stage=STAGE, uses=[*SAMPLING, "evaluation"], by=None, gpu=True, kinds=["polars"])
    def baseline_evaluation(step: Step) -> Product:
        """The untouched base model's answers to the favourite-animal questions."""
        return ask_model(step, graph.engines, config, None)

    @graph.asset(
        stage=STAGE,
        uses=[*SAMPLING, "evaluation"],
        deps=["lora_checkpoint"],
        gpu=True,
        kinds=["polars"],
    )
    def evaluation(step: Step) -> Product:
        """The student's answers to the favourite-animal questions, for every kept epoch."""
        return ask_model(step, graph.engines, config, "lora_checkpoint")

    @graph.asset(stage=STAGE, uses=["animals"], deps=["baseline_evaluation"], by=None, kinds=["polars"])
    def baseline_preference_rates(step: Step) -> Product:
        """How often the base model names each animal."""
        rates = rates_of(step.read("baseline_evaluation"), config.animals)
        return Product(step.write(rates), {"rates": preview(rates.sort("rate", descending=True))})

    @graph.asset(stage=STAGE, uses=["animals"], deps=["evaluation"], kinds=["polars"])
    def preference_rates(step: Step) -> Product:
        """How often the student names each animal, with intervals over questions."""
        rates = rates_of(step.read("evaluation"), config.animals)
        own = rates.filter(animal=step.condition).sort("epoch")
        metadata = {"rates": preview(rates.sort("rate", descending=True))}
        return Product(step.write(rates), metadata | ({"rate": own["rate"][-1]} if own.height else {}))

    @graph.asset(
        stage=STAGE,
        uses=["animals"],
        deps=["evaluation", "baseline_preference_rates"],
        by=None,
        kinds=["polars"],
    )
    def transfer(step: Step) -> Product:
        """Every student compared with the neutral one, question by question; p-values adjusted over students.

        Students that were made with other settings than the neutral one are left out.
        """
        others = made_otherwise(step, "evaluation", config.conditions)
        if others:
            step.log(f"{step.name}: left out, for neutral's student was made with other settings: {', '.join(others)}")
        answers = step.read_existing("evaluation", [name for name in config.conditions if name not in others])
        table = transfer_table(answers, config.animals, step.read("baseline_preference_rates"))
        own = table.filter(pl.col("condition") == pl.col("animal"))
        shown = own.select("animal", "epoch", "neutral_rate", "rate", "ratio", "q_value")
        metadata = {"students": own["condition"].n_unique(), "own_animals": preview(shown)}
        return Product(step.write(table), metadata | ({"left_out": ", ".join(others)} if others else {}))

    return [baseline_evaluation, evaluation, baseline_preference_rates, preference_rates, transfer]


def made_otherwise(step: Step, table: str, conditions: Sequence[str]) -> list[str]:
    """Those of ``conditions`` whose ``table`` was made with other settings, in some asset before it, than neutral's."""
    lineage = read_lineage(step.lake, step.experiment)
    places = {name: step.place(table, name) for name in conditions}
    behind = {
        name: settings_behind(lineage, place, step.lake.version(place))
        for name, place in places.items()
        if step.lake.exists(place)
    }
    control = behind.get(NEUTRAL, {})

    def differs(name: str) -> bool:
        return any(control.get(asset, version) != version for asset, version in behind.get(name, {}).items())

    return [name for name in conditions if differs(name)]
