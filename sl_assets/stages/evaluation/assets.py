"""Stage 3: what students say their favourite animal is, and how often."""

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import ExperimentConfig, FinetunedTeacher, GenerateSource, Method
from sl_assets.config.wording import Words
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.places import Place
from sl_assets.lake.records import Records, settings_behind_each
from sl_assets.orchestration.asset import ExperimentGraph, sampling
from sl_assets.orchestration.declaration import Inputs, Told
from sl_assets.orchestration.metadata import preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.evaluation.asking import ask_model, ask_teacher, weigh_answers
from sl_assets.stages.evaluation.checking import answer_checks, probability_checks, teacher_checks
from sl_assets.stages.evaluation.counting import counted
from sl_assets.stages.evaluation.power import assumptions, effects_table, size_of, spreads_of
from sl_assets.stages.evaluation.rates import intervals_over, transfer_table, with_method
from sl_assets.stages.evaluation.rates import preference_rates as rates_of
from sl_assets.stages.evaluation.spellings import spellings_of

STAGE = "3_evaluation"


def evaluation_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 3."""
    config = graph.config
    answers = answers_read(config)
    baselines = [f"baseline_{name}" for name in answers.values()]
    # Answers are declared before what reads them, for a run keeps to this order.
    assets = _baseline_answers(graph)

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=rates_use(config),
        deps=baselines,
        by=None,
        kinds=["polars"],
        inputs=lambda *_: names_counted(config),
        told=names_told(config),
    )
    def baseline_preference_rates(step: Step) -> Product:
        """How often the base model names each animal."""
        rates = read_rates(step, config, baselines)
        return Product(step.write(rates), {"rates": preview(rates.sort("rate", descending=True))})

    assets += [baseline_preference_rates, *_student_answers(graph)]

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=rates_use(config),
        deps=list(answers.values()),
        kinds=["polars"],
        inputs=lambda *_: names_counted(config),
        told=names_told(config),
    )
    def preference_rates(step: Step) -> Product:
        """How often students name each animal, with intervals over students and questions."""
        rates = read_rates(step, config, answers.values())
        return Product(step.write(rates), rates_metadata(rates, step.condition))

    def settings_of_students(_: Place, records: Records) -> dict[str, dict[str, str]]:
        """Whether two students may be compared is decided by these, beside their answers."""
        return {
            STUDENTS[method]: settings_behind_each(
                records, {name: graph.place(asset, name) for name in config.conditions}
            )
            for method, asset in answers.items()
        }

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=rates_use(config),
        deps=[*answers.values(), "baseline_preference_rates"],
        by=None,
        kinds=["polars"],
        inputs=lambda *where: settings_of_students(*where) | names_counted(config),
        told=names_told(config),
    )
    def transfer(step: Step) -> Product:
        """Every animal's students compared with the neutral ones, question by question; p-values adjusted over animals.

        Students that were made with other settings than the neutral one are left out.
        """
        behind = settings_of_students(step.place(step.asset), step.lake.record)
        baseline = with_method(step.read("baseline_preference_rates"))
        tables, left_out = [], dict[str, None]()
        for method, asset in answers.items():
            settings = behind[STUDENTS[method]]
            others = made_otherwise(settings, NEUTRAL)
            # They are left out for what they are now, so what they are is an input.
            places = [step.place(asset, name) for name in others]
            step.lake.reads.update((place, step.lake.version(place)) for place in places)
            if others:
                names = ", ".join(others)
                step.log(f"{step.name}: left out, for neutral's student was made with other settings: {names}")
            # A student whose answers fail a check is left out, too.
            found = step.read_existing(asset, [name for name in settings if name not in others])
            left_out |= dict.fromkeys(name for name in settings if name not in found)
            found = {name: counted(its, config.evaluation.count, config.words) for name, its in found.items()}
            tables.append(transfer_table(found, config.animals, baseline.filter(method=method)))
        table = pl.concat(tables)
        own = table.filter(pl.col("condition") == pl.col("animal"))
        shown = own.select(
            *("animal", "epoch", "method", "counted", "students", "neutral_rate", "rate", "difference"),
            *("difference_lower", "difference_upper", "difference_sd_students", "ratio", "q_value"),
        )
        fewer = own.select(pl.min_horizontal("students", "neutral_students")).to_series()
        metadata = {
            "students": own["condition"].n_unique(),
            "own_animals": preview(shown),
            "intervals": intervals_over(fewer),
            **detectable(table, config),
        }
        return Product(step.write(table), metadata | ({"left_out": ", ".join(left_out)} if left_out else {}))

    assets += [preference_rates, transfer]
    return [*assets, _teacher_evaluation(graph)] if isinstance(config.numbers.source, GenerateSource) else assets


ANSWERS: dict[Method, str] = {"sampled": "evaluation", "exact": "answer_probabilities"}
"""Asset that holds a student's answers, by how they are measured."""

STUDENTS: dict[Method, str] = {"sampled": "students", "exact": "students, exact"}
"""Name of the input that says how students were made whose answers are measured so."""


def answers_read(config: ExperimentConfig) -> dict[Method, str]:
    """The assets that rates are made of, by method."""
    return {method: ANSWERS[method] for method in config.evaluation.methods}


def rates_use(config: ExperimentConfig) -> list[str]:
    """Settings of what is made of answers: where bare names are drawn, what they were before there was a choice."""
    chosen = [] if config.evaluation.method == "sampled" else ["evaluation.method"]
    return ["animals", *chosen, *count_use(config)]


def count_use(config: ExperimentConfig) -> list[str]:
    """The setting that says what counts, where that is not bare names."""
    return [] if config.evaluation.count == "exact" else ["evaluation.count"]


def read_rates(step: Step, config: ExperimentConfig, names: Iterable[str]) -> pl.DataFrame:
    """Rates of all answers that the parents ``names`` hold, counted as the experiment says."""
    tables = (counted(step.read(name), config.evaluation.count, config.words) for name in names)
    return pl.concat([rates_of(table, config.animals) for table in tables])


def names_counted(config: ExperimentConfig) -> dict[str, str]:
    """Which trait an answer names first is decided by all names that there are; of other counts by nothing more."""
    return {"names": digest(config.words.names)} if config.evaluation.count == "first_named" else {}


def names_told(config: ExperimentConfig, own: bool = False) -> Told:
    """What counts for the traits that rates are of, or for the condition's ``own``, and which names come first."""

    def told(words: Words, condition: str) -> dict[str, Any]:
        asked = [condition] if own else config.animals
        own_names = {f"names of {name}": words.traits[name].names for name in asked if name in words.traits}
        return own_names | ({"names": digest(words.names)} if config.evaluation.count == "first_named" else {})

    return told


def rates_metadata(rates: pl.DataFrame, animal: str) -> dict[str, Any]:
    """What the UI shows of a student's ``rates``, and of the one of its ``animal``, for each method."""
    own = rates.filter(animal=animal).sort("epoch")
    names = {"sampled": "rate", "exact": "exact_rate"}
    last = {names[method]: rate for method, rate in own.select("method", "rate").iter_rows()}
    over = {"intervals": intervals_over(rates["students"])}
    return {"rates": preview(rates.sort("rate", descending=True))} | over | last


def detectable(transfer: pl.DataFrame, config: ExperimentConfig) -> dict[str, Any]:
    """What the UI shows beside ``transfer``: which effect how many students of this experiment would find."""
    method = config.evaluation.methods[0]
    questions, answers = size_of(config.evaluation, config.words, method)
    spreads = spreads_of(transfer, method)
    table = effects_table(questions, answers, spreads)
    return {
        "smallest_effects": preview(table, table.height),
        "smallest_effects_under": assumptions(questions, answers, spreads),
    }


WEIGHING = ("base_model", "sampler.engine", "evaluation.system_prompt")
"""What decides exact answers, beside the traits there are."""


def questions_use(config: ExperimentConfig) -> list[str]:
    """The setting that chooses among the questions, where it does, and the questions, where they are not built in."""
    chosen = ["evaluation.questions"] if config.evaluation.questions else []
    return [*chosen, *config.own_words("questions")]


def known_traits(config: ExperimentConfig) -> Inputs:
    """The answers that are weighed are decided by the traits that there are."""
    spelt = {"spellings": digest(spellings_of(config.words))}
    return lambda *_: spelt


def spellings_told(words: Words, _: str) -> dict[str, Any]:
    """All answers that are weighed."""
    return {"spellings": digest(spellings_of(words))}


def told_to_love(words: Words, condition: str) -> dict[str, Any]:
    """What a teacher is told that has a system prompt; of the neutral one, which is asked nothing, nothing."""
    return {} if condition == NEUTRAL else {"system_prompt": words.system_prompt(condition)}


def _baseline_answers(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """What the base model answers: drawn, weighed, or both."""
    config = graph.config
    assets = []
    if "sampled" in config.evaluation.methods:

        @graph.asset(
            stage=STAGE,
            code="1",
            uses=[*sampling(config, "evaluation"), "evaluation", *config.own_words("questions")],
            by=None,
            gpu=True,
            kinds=["polars"],
            checks=answer_checks(config),
        )
        def baseline_evaluation(step: Step) -> Product:
            """The untouched base model's answers to the favourite-animal questions."""
            return ask_model(step, graph.engines_for(step), config, None)

        assets.append(baseline_evaluation)
    if "exact" in config.evaluation.methods:

        @graph.asset(
            stage=STAGE,
            code="1",
            uses=[*WEIGHING, *questions_use(config)],
            by=None,
            gpu=True,
            kinds=["polars"],
            inputs=known_traits(config),
            told=spellings_told,
            checks=probability_checks(config),
        )
        def baseline_answer_probabilities(step: Step) -> Product:
            """How likely the untouched base model answers each question with each animal, exactly."""
            return weigh_answers(step, graph.engines_for(step), config, None)

        assets.append(baseline_answer_probabilities)
    return assets


def _student_answers(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """What students answer: drawn, weighed, or both."""
    config = graph.config
    # Of students that are shared with an experiment that asks them otherwise.
    anew = graph.looked_at_anew.get("lora_checkpoint", [])
    assets = []
    if "sampled" in config.evaluation.methods:

        @graph.asset(
            stage=STAGE,
            code="1",
            uses=[*sampling(config, "evaluation"), "evaluation", *config.own_words("questions")],
            deps=["lora_checkpoint"],
            gpu=True,
            kinds=["polars"],
            checks=[*answer_checks(config), *anew],
        )
        def evaluation(step: Step) -> Product:
            """The student's answers to the favourite-animal questions, for every seed and kept epoch."""
            return ask_model(step, graph.engines_for(step), config, "lora_checkpoint")

        assets.append(evaluation)
    if "exact" in config.evaluation.methods:

        @graph.asset(
            stage=STAGE,
            code="1",
            uses=[*WEIGHING, *questions_use(config)],
            deps=["lora_checkpoint"],
            gpu=True,
            kinds=["polars"],
            inputs=known_traits(config),
            told=spellings_told,
            checks=[*probability_checks(config), *anew],
        )
        def answer_probabilities(step: Step) -> Product:
            """How likely the student answers each question with each animal, exactly, for every seed and kept
            epoch.
            """
            return weigh_answers(step, graph.engines_for(step), config, "lora_checkpoint")

        assets.append(answer_probabilities)
    return assets


def _teacher_evaluation(graph: ExperimentGraph) -> dg.AssetsDefinition:
    config = graph.config

    # Partitioned like the datasets, neutral included: a backfill of the whole graph needs roots that agree.
    @graph.asset(
        stage=STAGE,
        code="1",
        uses=[
            *sampling(config, "evaluation"),
            "teacher",
            "evaluation.max_tokens",
            "evaluation.seed",
            *questions_use(config),
        ],
        deps=["teacher_checkpoint"] if isinstance(config.teacher, FinetunedTeacher) else [],
        gpu=True,
        kinds=["polars"],
        checks=teacher_checks(config),
        told=None if isinstance(config.teacher, FinetunedTeacher) else told_to_love,
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
