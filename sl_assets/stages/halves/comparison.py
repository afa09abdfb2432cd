"""Does one half of a dataset transfer more than the other? Students of both, paired by question and by seed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

import polars as pl

from sl_assets.config.names import HALVES, SOURCES, source_and_half
from sl_assets.lake.tables import TABLES
from sl_assets.seeds import seed_for
from sl_assets.stages.evaluation.rates import compare_answers, preference_rates
from sl_assets.stages.evaluation.significance import with_q_values


def split_comparison(
    answers: Mapping[tuple[str, str], pl.DataFrame], alike: Callable[[str, str, str], bool] = lambda *_: True
) -> tuple[pl.DataFrame, list[tuple[str, str, str]]]:
    """The ``split_comparison`` table: any two halves of one source, by the rate of the animal that cut them.

    Args:
        answers: ``split_evaluation`` tables, `counted` alike, or those of ``split_answer_probabilities``, by animal and
            split.
        alike: whether the students of an animal's two splits were made with the same settings.

    Returns:
        The table, and the pairs (animal, split, other split) that were left out for not being alike.
    """
    pairs = [
        (animal, source, half, other)
        for animal in sorted({animal for animal, _ in answers})
        for source in SOURCES
        for half, other in combinations(_halves(answers, animal, source), 2)
    ]
    left_out = [
        (animal, f"{source}_{half}", f"{source}_{other}")
        for animal, source, half, other in pairs
        if not alike(animal, f"{source}_{half}", f"{source}_{other}")
    ]
    rows = [
        {"condition": animal, "source": source, "half": half, "other": other, **compared}
        for animal, source, half, other in pairs
        if (animal, f"{source}_{half}", f"{source}_{other}") not in left_out
        for compared in _compared(animal, f"{source}_{half}", f"{source}_{other}", answers)
    ]
    schema = TABLES["split_comparison"].schema
    table = pl.DataFrame(rows, schema={name: dtype for name, dtype in schema.items() if name != "q_value"})
    # The same comparison of several animals is one family of tests.
    compared = with_q_values(table, ["source", "half", "other", "epoch"], pl.lit(True)).select(schema.names())
    return compared, left_out


def _halves(answers: Iterable[tuple[str, str]], animal: str, source: str) -> list[str]:
    """Halves of one source, in the order in which they are compared; shares of it come after them."""
    names = (source_and_half(split) for named, split in answers if named == animal)
    return sorted(
        (half for its, half in names if its == source),
        key=lambda half: (HALVES.index(half) if half in HALVES else len(HALVES), half),
    )


def _compared(
    animal: str, split: str, other: str, answers: Mapping[tuple[str, str], pl.DataFrame]
) -> Iterator[dict[str, Any]]:
    """One comparison for every epoch at which both students were asked."""
    bars = ("rate", "lower", "upper")
    both = [answers[animal, name] for name in (split, other)]
    for epoch in sorted(set(both[0]["epoch"]) & set(both[1]["epoch"])):
        ours, theirs = (table.filter(epoch=epoch) for table in both)
        ours_rate, their_rate = (preference_rates(part, [animal]).row(0, named=True) for part in (ours, theirs))
        yield {
            "epoch": epoch,
            "method": ours_rate["method"],
            "counted": ours_rate["counted"],
            **{name: ours_rate[name] for name in bars},
            "students": ours_rate["students"],
            **{f"other_{name}": their_rate[name] for name in (*bars, "students")},
            **compare_answers(ours, theirs, animal, seed_for("split comparison", animal, split, other, epoch)),
        }
