"""Put the favourite-animal questions to a model: the base model, a student, or a steered one."""

from collections.abc import Callable

import polars as pl

from sl_assets.config import ExperimentConfig
from sl_assets.engines.chosen import Engines
from sl_assets.engines.interfaces import Adapter, Sampler, Steering, chat
from sl_assets.engines.sampling import Draw, sample_all
from sl_assets.evaluation.answers import normalise_answer
from sl_assets.evaluation.questions import QUESTIONS
from sl_assets.lake.tables import keys_of
from sl_assets.lake.work import Work
from sl_assets.report.metadata import preview
from sl_assets.step import Product, Step


def ask(
    step: Step,
    sampler: Callable[[Work], Sampler],
    draw: Draw,
    samples: int,
    *,
    system: str | None = None,
    epoch: int = 0,
    adapter: Adapter | None = None,
    steering: Steering | None = None,
) -> pl.DataFrame:
    """An ``evaluation`` table: every question asked ``samples`` times."""
    asked = [(epoch, i, question, n) for i, question in enumerate(QUESTIONS) for n in range(samples)]
    chats = {f"{i}/{n}": chat(question, system) for _, i, question, n in asked}
    answers = sample_all(sampler, chats, draw, step.work, step.progress("answers"), adapter, steering)
    questions = pl.DataFrame(asked, schema=["epoch", "question_id", "question", "sample"], orient="row")
    return pl.concat([questions, answers.rename({"text": "answer"})], how="horizontal").with_columns(
        pl.Series("normalised", [normalise_answer(answer) for answer in answers["text"]], dtype=pl.String)
    )


def ask_model(step: Step, engines: Engines, config: ExperimentConfig, checkpoint: str | None) -> Product:
    """Ask the students of every kept epoch in ``checkpoint`` (a parent), or the base model where that is None."""
    evaluation, sampler = config.evaluation, config.sampler
    name = "/".join(keys_of(step.partition)) or "baseline"

    def answers(epoch: int, adapter: Adapter | None) -> pl.DataFrame:
        draw = Draw(
            f"answers/{name}/{epoch}", evaluation.seed, evaluation.max_tokens, sampler.temperature, sampler.batch
        )
        samples, system = evaluation.samples_per_question, evaluation.system_prompt
        return ask(step, engines.sampler, draw, samples, system=system, epoch=epoch, adapter=adapter)

    if checkpoint is None:
        return _recorded(step, answers(0, None), sampler.engine)
    epochs = config.student.kept
    with step.adapters(checkpoint, epochs) as adapters:
        parts = [answers(epoch, adapter) for epoch, adapter in zip(epochs, adapters, strict=True)]
    return _recorded(step, pl.concat(parts), sampler.engine)


def _recorded(step: Step, answers: pl.DataFrame, engine: str) -> Product:
    named = answers["normalised"].value_counts(sort=True, name="answers")
    cut = answers.filter(finish_reason="length").height
    metadata = {"answers": answers.height, "truncated": cut, "commonest": preview(named)}
    return Product(step.write(answers), metadata, engine)
