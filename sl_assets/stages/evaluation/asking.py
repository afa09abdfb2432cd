"""Put the favourite questions to a model: the base model, a student, or a steered one."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import ExperimentConfig, FinetunedTeacher
from sl_assets.engines.choose import Engines
from sl_assets.engines.interfaces import Adapter, Chat, Sampler, Steering, chat
from sl_assets.engines.sampling import Asked, Draw, drawn, sample_all, sample_draws
from sl_assets.lake.tables import TABLES, keys_of
from sl_assets.lake.work import Work
from sl_assets.orchestration.metadata import preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.evaluation.answers import normalise_answer
from sl_assets.stages.evaluation.questions import asked
from sl_assets.stages.evaluation.spellings import spellings_of
from sl_assets.stages.numbers.teachers import teacher_adapter

if TYPE_CHECKING:
    import numpy as np


def ask(
    step: Step,
    sampler: Callable[[Work], Sampler],
    draw: Draw,
    samples: int,
    config: ExperimentConfig,
    steering: Steering,
) -> pl.DataFrame:
    """An ``evaluation`` table of the steered base model: every question asked ``samples`` times."""
    questions = asked(config)
    chats = _chats(questions, samples, config.evaluation.system_prompt)
    answers = sample_all(sampler, chats, draw, step.work, step.progress("answers"), steering=steering)
    return _table(questions, samples, 0, answers)


def _chats(questions: Mapping[int, str], samples: int, system: str | None) -> dict[str, Chat]:
    return {f"{i}/{n}": chat(question, system) for i, question in questions.items() for n in range(samples)}


def _table(questions: Mapping[int, str], samples: int, epoch: int, answers: pl.DataFrame) -> pl.DataFrame:
    rows = [(epoch, i, question, n) for i, question in questions.items() for n in range(samples)]
    told = pl.DataFrame(rows, schema=["epoch", "question_id", "question", "sample"], orient="row")
    return pl.concat([told, answers.rename({"text": "answer"})], how="horizontal").with_columns(
        pl.Series("normalised", [normalise_answer(answer) for answer in answers["text"]], dtype=pl.String)
    )


def ask_model(step: Step, engines: Engines, config: ExperimentConfig, checkpoint: str | None) -> Product:
    """Ask the students of every kept epoch in ``checkpoint`` (a parent), or the base model where that is None."""
    evaluation, sampler = config.evaluation, config.sampler
    name, samples = "/".join(keys_of(step.partition)) or "baseline", evaluation.samples_per_question
    questions = asked(config)
    chats = _chats(questions, samples, evaluation.system_prompt)

    def put(epoch: int, adapter: Adapter | None) -> Asked:
        draw = drawn(config, "evaluation", f"answers/{name}/{epoch}", evaluation.seed, evaluation.max_tokens)
        return Asked(chats, draw, adapter)

    epochs = config.student.kept if checkpoint else (0,)
    with step.adapters(checkpoint, epochs) if checkpoint else nullcontext([None]) as adapters:
        # All epochs at once, for the engine to say what they may cost together.
        draws = [put(epoch, adapter) for epoch, adapter in zip(epochs, adapters, strict=True)]
        parts = sample_draws(engines.sampler, draws, step.work, step.progress("answers"))
    tables = [_table(questions, samples, epoch, part) for epoch, part in zip(epochs, parts, strict=True)]
    return _recorded(step, pl.concat(tables), sampler.engine)


def weigh_answers(step: Step, engines: Engines, config: ExperimentConfig, checkpoint: str | None) -> Product:
    """Probabilities of every trait there is as the answer, by the models that `ask_model` would ask."""
    spellings = spellings_of(config.words)
    texts = [text for texts in spellings.values() for text in texts]
    questions = asked(config)
    chats = [chat(question, config.evaluation.system_prompt) for question in questions.values()]
    epochs = config.student.kept if checkpoint else (0,)
    scorer, progress = engines.scorer(), step.progress("models")
    tables = []
    with step.adapters(checkpoint, epochs) if checkpoint else nullcontext([None]) as adapters:
        for done, (epoch, adapter) in enumerate(zip(epochs, adapters, strict=True), start=1):
            found = scorer.log_probabilities(chats, texts, adapter and adapter.folder)
            tables.append(weighed(epoch, found.answers, questions, spellings))
            progress(done, len(epochs))
    table = pl.concat(tables)
    means = table.group_by("epoch", "animal", maintain_order=True).agg(pl.col("probability", "mass").mean())
    metadata = {"questions": len(questions), "likeliest": preview(means.sort("probability", descending=True))}
    return Product(step.write(table), metadata, config.sampler.engine)


def weighed(
    epoch: int, answers: "np.ndarray", questions: Mapping[int, str], spellings: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    """The ``answer_probabilities`` of one epoch, from log probabilities ``[questions, texts]`` of all ``spellings``."""
    import numpy as np

    # Spellings of one trait stand side by side.
    firsts = np.cumsum([0, *map(len, spellings.values())])[:-1]
    logs = np.logaddexp.reduceat(answers.astype(np.float64), firsts, axis=1)
    probabilities = np.exp(logs)
    return pl.concat(
        pl.DataFrame(
            {"animal": list(spellings), "probability": probabilities[row], "log_probability": logs[row]}
        ).with_columns(
            epoch=pl.lit(epoch), question_id=pl.lit(i), question=pl.lit(question), mass=pl.lit(probabilities[row].sum())
        )
        for row, (i, question) in enumerate(questions.items())
    )


TEACHER_SAMPLES = 4
"""Answers of a teacher to each question: enough to see whether it loves its animal at all."""


def ask_teacher(step: Step, engines: Engines, config: ExperimentConfig) -> Product:
    """Ask the teacher that writes this condition's numbers, told or trained as for these; the neutral one has none."""
    teacher = config.teacher
    epoch = teacher.epochs if isinstance(teacher, FinetunedTeacher) else None
    with teacher_adapter(step, teacher) as adapter:
        if step.condition == NEUTRAL:
            return Product(step.write(pl.DataFrame(schema=TABLES["teacher_evaluation"].schema)), {"answers": 0})
        evaluation, sampler = config.evaluation, config.sampler
        system = None if epoch else config.words.system_prompt(step.condition)
        draw = drawn(config, "evaluation", f"teacher/{step.condition}", evaluation.seed, evaluation.max_tokens)
        # Without chance, all would be the same.
        samples = TEACHER_SAMPLES if draw.temperature else 1
        questions = asked(config)
        put = Asked(_chats(questions, samples, system), draw, adapter)
        chosen = engines.sampler if epoch else engines.base_sampler
        (answers,) = sample_draws(chosen, [put], step.work, step.progress("answers"))
    return _recorded(
        step,
        _table(questions, samples, epoch or 0, answers),
        sampler.engine,
    )


def _recorded(step: Step, answers: pl.DataFrame, engine: str) -> Product:
    named = answers["normalised"].value_counts(sort=True, name="answers")
    cut = answers.filter(finish_reason="length").height
    metadata = {"answers": answers.height, "truncated": cut, "commonest": preview(named)}
    return Product(step.write(answers), metadata, engine)
