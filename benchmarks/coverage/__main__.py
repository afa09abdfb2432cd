"""``python -m benchmarks.coverage``: how often 95% intervals hold the truth, as rows of a Markdown table.

Every experiment has several students of an animal's teacher and as many of the neutral one, who answer the same
questions. Ours are the functions that make the lake's tables. Beside them stand other ways to compare the same answers.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from benchmarks.coverage.experiments import Side, drawn
from sl_assets.stages.evaluation.significance import compare, mean_interval, rate_interval, uncertainty

if TYPE_CHECKING:
    from benchmarks.coverage.experiments import Shares

RESAMPLES = 1_000

PUBLISHED = [float(np.exp(np.log(0.155) + 0.65 * stats.norm.ppf((i + 0.5) / 16))) for i in range(16)]
"""Spreads of sixteen animals. Of three students each, their standard deviations are 12 points in the median and 47 in
about the largest, as published for three runs of Qwen 14B."""

SETTINGS: dict[str, list[tuple[Side, Side]]] = {
    "41% and 11%, as published": [(Side(0.41, min(spread, 0.42)), Side(0.11, 0.04)) for spread in PUBLISHED],
    "41% and 11%, spread 0": [(Side(0.41, 0.0), Side(0.11, 0.0))],
    "41% and 11%, spread 3": [(Side(0.41, 0.03), Side(0.11, 0.015))],
    "41% and 11%, spread 12": [(Side(0.41, 0.12), Side(0.11, 0.04))],
    "11% and 11%, spread 4": [(Side(0.11, 0.04), Side(0.11, 0.04))],
    "15% and 11%, spread 12": [(Side(0.15, 0.12), Side(0.11, 0.04))],
    "3% and 2%, spread 2": [(Side(0.03, 0.02), Side(0.02, 0.01))],
    "41% and 11%, spread 25": [(Side(0.41, 0.25), Side(0.11, 0.04))],
    "41% and 11%, spread 45": [(Side(0.41, 0.45), Side(0.11, 0.04))],
}
"""True rate of the animal's students and of the neutral ones, and the former's standard deviation in points."""

Interval = tuple[float, float]
Method = Callable[["Shares", "Shares", int], Interval]


def main() -> None:
    """Simulate every setting with three students and with five."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=2_000, help="of each row")
    parser.add_argument("--students", type=int, nargs="+", default=[3, 5])
    options = parser.parse_args()
    columns = ["true rates and spread", "students", *OURS, *OTHERS]
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for name, sides in SETTINGS.items():
        for students in options.students:
            held = coverage(sides, students, options.experiments, OURS | OTHERS)
            cells = [f"{100 * share:.1f}" for share in held.values()]
            print(f"| {name} | {students} | " + " | ".join(cells) + " |", flush=True)
    spread = np.concatenate([deviations(sides, 3, 400) for sides in SETTINGS["41% and 11%, as published"]])
    largest = spread.reshape(16, -1).max(axis=0)
    print(f"\nas published: median {100 * np.median(spread):.0f} points, largest {100 * np.median(largest):.0f}")


def coverage(
    sides: Sequence[tuple[Side, Side]], students: int, experiments: int, methods: Mapping[str, Method]
) -> dict[str, float]:
    """Share of intervals that hold the truth, by name; ``sides`` have as many experiments each."""
    rng = np.random.default_rng(1)
    held = [
        [lower <= true <= upper for (lower, upper), true in judged(animal, shares, seed, methods)]
        for animal in sides
        for seed, shares in enumerate(zip(*drawn(rng, animal, students, experiments // len(sides)), strict=True))
    ]
    return dict(zip(methods, np.asarray(held).mean(axis=0).tolist(), strict=True))


def judged(
    sides: tuple[Side, Side], shares: "tuple[Shares, Shares]", seed: int, methods: Mapping[str, Method]
) -> list[tuple[Interval, float]]:
    """The intervals of one experiment, each with what it should hold."""
    rate, neutral = sides[0].rate, sides[1].rate
    true = {"rate": rate, "neutral rate": neutral, "ratio": rate / neutral}
    return [(method(*shares, seed), true.get(name, rate - neutral)) for name, method in methods.items()]


def deviations(sides: tuple[Side, Side], students: int, experiments: int) -> "Shares":
    """Standard deviation of the animal's students' rates, an experiment each."""
    ours, _ = drawn(np.random.default_rng(2), sides, students, experiments)
    spread: Shares = ours.mean(axis=2).std(axis=1, ddof=1)
    return spread


def of(name: str, paired: bool = True) -> Method:
    """The interval of ``name`` in a comparison; unbounded where an end is None."""

    def interval(ours: "Shares", control: "Shares", seed: int) -> Interval:
        compared = compare(ours, control, seed, paired)
        lower, upper = compared[f"{name}_lower"], compared[f"{name}_upper"]
        return -np.inf if lower is None else lower, np.inf if upper is None else upper

    return interval


def first_students(ours: "Shares", control: "Shares", _: int) -> Interval:
    """As if one student of either side were all: t over questions."""
    return mean_interval(ours[0] - control[0])


def students_alone(ours: "Shares", control: "Shares", _: int) -> Interval:
    """One figure a pair of students, t over them: as if other questions gave the same."""
    return mean_interval((ours - control).mean(axis=1))


def one_t(ours: "Shares", control: "Shares", _: int) -> Interval:
    """The same parts of the variance, one t interval with Satterthwaite's degrees of freedom."""
    differences = ours - control
    parts = uncertainty([differences], differences.mean(axis=0))
    variance = parts.students + parts.questions
    freedom = variance**2 / (parts.students**2 / parts.students_freedom + parts.questions**2 / parts.questions_freedom)
    reach = float(stats.t.ppf(0.975, freedom)) * variance**0.5
    return float(differences.mean()) - reach, float(differences.mean()) + reach


def bootstrap(ours: "Shares", control: "Shares", seed: int) -> Interval:
    """Percentiles of the mean over resampled pairs of students and, with them, resampled questions."""
    rng, differences = np.random.default_rng(seed), ours - control
    students, questions = differences.shape
    of_students = rng.multinomial(students, np.full(students, 1 / students), RESAMPLES) / students
    of_questions = rng.multinomial(questions, np.full(questions, 1 / questions), RESAMPLES) / questions
    means = ((of_students @ differences) * of_questions).sum(axis=1)
    lower, upper = np.quantile(means, [0.025, 0.975])
    return float(lower), float(upper)


OURS: dict[str, Method] = {
    "rate": lambda ours, _, __: rate_interval(ours),
    "neutral rate": lambda _, control, __: rate_interval(control),
    "difference": of("difference"),
    "no pairs": of("difference", paired=False),
    "ratio": of("ratio"),
}
OTHERS: dict[str, Method] = {
    "one student": first_students,
    "t over students": students_alone,
    "Satterthwaite": one_t,
    "bootstrap": bootstrap,
}

if __name__ == "__main__":
    main()
