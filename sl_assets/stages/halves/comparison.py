"""Does one half of a dataset transfer more than the other? Students of both, paired by question."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import polars as pl

from sl_assets.lake.tables import TABLES
from sl_assets.seeds import seed_for
from sl_assets.stages.evaluation.rates import compare, preference_rates, question_shares, with_q_values
from sl_assets.stages.halves.cutting import HALVES, SOURCES


def split_comparison(answers: Mapping[tuple[str, str], pl.DataFrame]) -> pl.DataFrame:
    """The ``split_comparison`` table: any two halves of one source, by the rate of the animal that cut them.

    Args:
        answers: ``split_evaluation`` tables by animal and split.
    """
    rows = [
        {"condition": animal, "source": source, "half": half, "other": other, **compared}
        for animal in sorted({animal for animal, _ in answers})
        for source in SOURCES
        for half, other in combinations([half for half in HALVES if (animal, f"{source}_{half}") in answers], 2)
        for compared in _compared(animal, f"{source}_{half}", f"{source}_{other}", answers)
    ]
    schema = TABLES["split_comparison"].schema
    table = pl.DataFrame(rows, schema={name: dtype for name, dtype in schema.items() if name != "q_value"})
    # The same comparison of several animals is one family of tests.
    return with_q_values(table, ["source", "half", "other", "epoch"], pl.lit(True)).select(schema.names())


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
            **{name: ours_rate[name] for name in bars},
            **{f"other_{name}": their_rate[name] for name in bars},
            **compare(
                question_shares(ours, animal),
                question_shares(theirs, animal),
                seed_for("split comparison", animal, split, other, epoch),
            ),
        }
