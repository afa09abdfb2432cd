"""Put the favourite questions to a model: the base model, a student, or a steered one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import ExperimentConfig, FinetunedTeacher, StudentSettings
from sl_assets.engines.choose import Engines
from sl_assets.engines.interfaces import Adapter, Chat, Sampler, Steering, chat
from sl_assets.engines.sampling import Asked, Draw, drawn, sample_all, sample_draws
from sl_assets.lake.tables import TABLES, keys_of
from sl_assets.lake.work import Work
from sl_assets.orchestration.metadata import code_block, preview
from sl_assets.orchestration.partition import Product, Step, Student
from sl_assets.stages.evaluation.answered import answered_before, draw_of, seeds_of
from sl_assets.stages.evaluation.answers import normalise_answer
from sl_assets.stages.evaluation.questions import asked
from sl_assets.stages.evaluation.spellings import spellings_of
from sl_assets.stages.numbers.teachers import teacher_adapter
from sl_assets.stages.rendering import renderer_of

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


def ask_model(
    step: Step,
    engines: Engines,
    config: ExperimentConfig,
    checkpoint: str | None,
    trained: StudentSettings | None = None,
) -> Product:
    """Ask the students of every seed and kept epoch in ``checkpoint`` (a parent), or the base model where it is None.

    They were ``trained`` so, as ``config.student`` says where that is left out. Students that have answered already
    keep their answers (`answered_before`).
    """
    evaluation = config.evaluation
    name, samples = "/".join(keys_of(step.partition)) or "baseline", evaluation.samples_per_question
    questions = asked(config)
    chats = _chats(questions, samples, evaluation.system_prompt)

    def put(epoch: int, adapter: Adapter | None, which: str = "") -> Asked:
        draw = drawn(config, "evaluation", f"answers/{name}/{epoch}{which}", evaluation.seed, evaluation.max_tokens)
        return Asked(chats, draw, adapter)

    def recorded(table: pl.DataFrame) -> Product:
        return _recorded(step, table, config, next(iter(chats.values())))

    def sampled(draws: Sequence[Asked]) -> list[pl.DataFrame]:
        # All at once, for the engine to say what they may cost together.
        return sample_draws(engines.sampler, draws, step.work, step.progress("answers"))

    if checkpoint is None:
        (answers,) = sampled([put(0, None)])
        return recorded(_table(questions, samples, 0, answers))
    trained = trained or config.student
    with step.students(checkpoint, trained.all_seeds, trained.kept) as students:
        kept = answered_before(step, checkpoint, students, drawn=True)
        seeds = seeds_of(students)
        left = [student for student in students if student.seed not in kept]
        parts = sampled([put(one.epoch, one.adapter, draw_of(one.seed, seeds)) for one in left])
    tables = [
        _of_student(_table(questions, samples, student.epoch, part), student)
        for student, part in zip(left, parts, strict=True)
    ]
    return _of_students(recorded(_in_order([*kept.values(), *tables])), students, kept)


def weigh_answers(
    step: Step,
    engines: Engines,
    config: ExperimentConfig,
    checkpoint: str | None,
    trained: StudentSettings | None = None,
) -> Product:
    """Probabilities of every trait there is as the answer, by the models that `ask_model` would ask."""
    spellings = spellings_of(config.words)
    texts = [text for texts in spellings.values() for text in texts]
    questions = asked(config)
    chats = [chat(question, config.evaluation.system_prompt) for question in questions.values()]
    scorer, progress = cache(engines.scorer), step.progress("models")

    def weigh(epoch: int, adapter: Adapter | None) -> pl.DataFrame:
        found = scorer().log_probabilities(chats, texts, adapter and adapter.folder)
        return weighed(epoch, found.answers, questions, spellings)

    def recorded(table: pl.DataFrame) -> Product:
        which = [name for name in ("seed", "epoch", "animal") if name in table.columns]
        means = table.group_by(which, maintain_order=True).agg(pl.col("probability", "mass").mean())
        metadata = {"questions": len(questions), "likeliest": preview(means.sort("probability", descending=True))}
        return Product(step.write(table), metadata, config.sampler.engine)

    if checkpoint is None:
        table = weigh(0, None)
        progress(1, 1)
        return recorded(table)
    trained = trained or config.student
    with step.students(checkpoint, trained.all_seeds, trained.kept) as students:
        kept = answered_before(step, checkpoint, students, drawn=False)
        left = [student for student in students if student.seed not in kept]
        tables = []
        for done, student in enumerate(left, start=1):
            tables.append(_of_student(weigh(student.epoch, student.adapter), student))
            progress(done, len(left))
    return _of_students(recorded(_in_order([*kept.values(), *tables])), students, kept)


def _of_student(table: pl.DataFrame, student: Student) -> pl.DataFrame:
    return table.with_columns(seed=pl.lit(student.seed, pl.Int64))


def _in_order(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All ``tables`` by seed and epoch; rows of one student stay in their order."""
    return pl.concat(tables, how="diagonal_relaxed").sort("seed", "epoch", maintain_order=True)


def _of_students(product: Product, students: Sequence[Student], kept: Mapping[int | None, pl.DataFrame]) -> Product:
    """``product`` with the students that it is of, and which of them were not asked anew."""
    versions = {student.seed: student.version for student in students}
    told = {"taken_over": ", ".join(map(str, kept)) or "none"} if len(versions) > 1 or kept else {}
    return replace(product, metadata=product.metadata | told, students=versions)


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
        evaluation = config.evaluation
        system = None if epoch else config.words.system_prompt(step.condition)
        draw = drawn(config, "evaluation", f"teacher/{step.condition}", evaluation.seed, evaluation.max_tokens)
        # Without chance, all would be the same.
        samples = TEACHER_SAMPLES if draw.temperature else 1
        questions = asked(config)
        put = Asked(_chats(questions, samples, system), draw, adapter)
        chosen = engines.sampler if epoch else engines.base_sampler
        (answers,) = sample_draws(chosen, [put], step.work, step.progress("answers"))
    return _recorded(step, _table(questions, samples, epoch or 0, answers), config, next(iter(put.chats.values())))


def _recorded(step: Step, answers: pl.DataFrame, config: ExperimentConfig, first: Chat) -> Product:
    named = answers["normalised"].value_counts(sort=True, name="answers")
    cut = answers.filter(finish_reason="length").height
    shown = code_block(renderer_of(config, step.base_model).asked(first))
    metadata = {"answers": answers.height, "truncated": cut, "commonest": preview(named), "rendered": shown}
    return Product(step.write(answers), metadata, config.sampler.engine)
