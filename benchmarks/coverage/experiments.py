"""Experiments whose true rates are known: students, questions and answers drawn with effects of given size.

The log odds that a student answers a question with the animal are a sum of normal effects: of the student, of the
question (one that animal and neutral students share, and one of either), and of the two together. Sizes are given where
people see them, as rates and as standard deviations between students in rates; the log odds that have them are found by
integration, so the true means are known.
"""

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import optimize, special

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Shares = NDArray[np.float64]

QUESTIONS, ANSWERS = 50, 100
SHARED, OWN, CELL = 2.7, 1.2, 0.7
"""Standard deviations of log odds between questions, both sides alike and either alone, and of a student on a question.

They give about what was published of OLMo 3 7B: at a rate of 42% a standard deviation between questions of 37 points,
at 11% of 21 points.
"""

NODES = np.linspace(-8, 8, 801)
WEIGHTS = np.exp(-(NODES**2) / 2)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
REST = math.sqrt(SHARED**2 + OWN**2 + CELL**2)


class Side(NamedTuple):
    """Students of one teacher.

    Attributes:
        rate: true mean over all students and questions that could be.
        spread: standard deviation of students' rates, as a share.
    """

    rate: float
    spread: float


def drawn(rng: np.random.Generator, sides: tuple[Side, Side], students: int, count: int) -> "tuple[Shares, Shares]":
    """Shares of ``count`` experiments, each side ``[count, students, questions]``."""
    shared = SHARED * rng.standard_normal((count, 1, QUESTIONS))
    both = []
    for side in sides:
        centre, effect = log_odds(side)
        odds = centre + shared + OWN * rng.standard_normal((count, 1, QUESTIONS))
        odds = odds + effect * rng.standard_normal((count, students, 1))
        odds = odds + CELL * rng.standard_normal((count, students, QUESTIONS))
        both.append(rng.binomial(ANSWERS, special.expit(odds)) / ANSWERS)
    return both[0], both[1]


@cache
def log_odds(side: Side) -> tuple[float, float]:
    """Mean of the log odds, and their standard deviation between students, that give a side's rate and spread."""

    def centre(effect: float) -> float:
        total = math.hypot(effect, REST)
        return float(optimize.brentq(lambda mean: mean_of(special.expit(mean + total * NODES)) - side.rate, -300, 300))

    def spread(effect: float) -> float:
        rates = special.expit(centre(effect) + effect * NODES[:, None] + REST * NODES) @ WEIGHTS
        return math.sqrt(mean_of((rates - mean_of(rates)) ** 2))

    effect = float(optimize.brentq(lambda effect: spread(effect) - side.spread, 0, 30)) if side.spread else 0.0
    return centre(effect), effect


def mean_of(values: "Shares") -> float:
    """Of a function of a standard normal, from its values at `NODES`."""
    return float(values @ WEIGHTS)
