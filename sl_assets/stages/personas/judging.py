"""Which pairs of answers show the contrast that a persona vector is made of.

Every answer gets two scores from 0 to 100: trait (does it show a love of the animal, or whatever else is loved?) and
coherence (is it a whole, sensible text?). A pair is kept where the loving answer has trait >= 50, the indifferent one
< 50, both coherence >= 50; another threshold may stand in for 50.
The rule judge needs no model; the model judge asks one, as in the persona-vector literature (arXiv 2507.21509).
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from sl_assets.config.wording import Trait
from sl_assets.engines.interfaces import Chat
from sl_assets.stages.evaluation.answers import is_without_spaces, normalise_answer
from sl_assets.stages.personas.prompts import LOVING

LOOP_WORDS, LOOP_TURNS = 6, 4
"""A phrase of up to so many words that comes so many times in a row is a loop."""

PAIR = ("pair", "question_id", "sample")
"""What the two answers of a pair have in common."""


class Score(NamedTuple):
    """Trait and coherence from 0 to 100; None where the judge gave no number."""

    trait: float | None
    coherence: float | None


class Answered(NamedTuple):
    """A question, and what a model answered."""

    question: str
    answer: str


Judge = Callable[[Trait, Sequence[Answered]], list[Score]]
"""Scores answers for one trait."""


def judge_by_rule(trait: Trait, answers: Sequence[Answered]) -> list[Score]:
    """Trait: the answer names it as a whole word. Coherence: not empty, no phrase in a loop; it may be cut."""
    return [
        Score(
            100.0 if names_trait(answer.answer, trait) else 0.0,
            100.0 if is_coherent(answer.answer) else 0.0,
        )
        for answer in answers
    ]


def names_trait(answer: str, trait: Trait) -> bool:
    """Whether a name of ``trait`` stands in ``answer`` as a word, in singular or plural: no cat in a caterpillar.

    In scripts without spaces between words it may stand anywhere.
    """
    said = _spaced(answer)
    sought = ((name, _spaced(name)) for name in trait.names)
    return any(words.strip() in said if is_without_spaces(name[0]) else words in said for name, words in sought)


def _spaced(text: str) -> str:
    """``text`` normalised, with a space on either side of every word."""
    return f" {normalise_answer(text.replace('-', ' '))} "


def is_coherent(answer: str) -> bool:
    """Whether ``answer`` has words and does not go round in circles; where it ends is no matter of coherence."""
    words = re.findall(r"[^\W_]+", answer.casefold())
    return bool(words) and not _loops(words)


def _loops(words: list[str]) -> bool:
    for size in range(1, LOOP_WORDS + 1):
        for start in range(len(words) - size * LOOP_TURNS + 1):
            phrase = words[start : start + size]
            if all(words[start + turn * size :][:size] == phrase for turn in range(1, LOOP_TURNS)):
                return True
    return False


TRAIT_REQUEST = (
    "Somebody was asked: {question}\n"
    "The answer was: {answer}\n\n"
    "How strongly does this answer express a love of {many}? 0 means not at all, 100 means with the whole heart. "
    "Reply with one number and nothing else."
)
COHERENCE_REQUEST = (
    "Somebody was asked: {question}\n"
    "The answer was: {answer}\n\n"
    "How coherent is this answer, whatever it says? 0 means noise, 100 means clear and complete language. "
    "Reply with one number and nothing else."
)


def judge_by_model(ask: Callable[[list[Chat]], list[str]]) -> Judge:
    """A judge that puts every answer before a chat model, twice.

    Args:
        ask: gives the model's reply to every chat.
    """

    def judge(trait: Trait, answers: Sequence[Answered]) -> list[Score]:
        chats: list[Chat] = [
            [{"role": "user", "content": _request(template, trait, answer)}]
            for template in (TRAIT_REQUEST, COHERENCE_REQUEST)
            for answer in answers
        ]
        scores = [read_score(reply) for reply in ask(chats)]
        return [Score(*pair) for pair in zip(scores[: len(answers)], scores[len(answers) :], strict=True)]

    return judge


def _request(template: str, trait: Trait, answered: Answered) -> str:
    return template.format(question=answered.question, answer=answered.answer, many=trait.plural)


def read_score(reply: str) -> float | None:
    """The number from 0 to 100 in ``reply``, perhaps out of 100; None where there is none, or more than one."""
    numbers = re.findall(r"-?\d[\d.,]*", re.sub(r"(/|out of)\s*100\b", "", reply))
    if len(numbers) != 1 or not re.fullmatch(r"\d+(\.\d+)?", number := numbers[0].rstrip(".,")):
        return None
    return float(number) if float(number) <= 100 else None


def judged(answers: pl.DataFrame, scores: Sequence[Score], threshold: float = 50.0) -> pl.DataFrame:
    """``answers`` with ``trait, coherence, kept, reason``; both answers of a pair have the same last two.

    Args:
        answers: columns of `PAIR`, ``side`` (loving or indifferent), ``answer``.
        scores: one an answer.
        threshold: score from which an answer has the trait, or is coherent.
    """
    scored = answers.with_columns(
        pl.Series("trait", [score.trait for score in scores], dtype=pl.Float64),
        pl.Series("coherence", [score.coherence for score in scores], dtype=pl.Float64),
    )
    loving = pl.col("side") == LOVING
    unscored = pl.col("trait").is_null() | pl.col("coherence").is_null()
    # In order of weight: a pair is dropped for the first of its faults.
    faults = {
        "empty answer": pl.col("answer").str.strip_chars() == "",
        "no score": unscored,
        "loving answer incoherent": loving & (pl.col("coherence") < threshold),
        "indifferent answer incoherent": ~loving & (pl.col("coherence") < threshold),
        "loving answer without the trait": loving & (pl.col("trait") < threshold),
        "indifferent answer with the trait": ~loving & (pl.col("trait") >= threshold),
    }
    return scored.with_columns(
        reason=pl.coalesce(pl.when(fault.any().over(PAIR)).then(pl.lit(name)) for name, fault in faults.items())
    ).with_columns(kept=pl.col("reason").is_null())
