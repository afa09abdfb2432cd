"""Figures that others have published, beside an experiment's own by the same measure.

``published.csv`` has mention rates in percent, with half the width of their 95% intervals over fifty questions. Those
of OLMo 3 7B are what the charts of a published study of that model show; which epoch they are of, they do not say.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from sl_assets.animals import NEUTRAL

FILE = Path(__file__).with_name("published.csv")
SOURCE = (
    "Published rates are those in the charts of the OLMo 3 7B study, by mention of the animal's name anywhere in an "
    "answer; plus or minus half a 95% interval over fifty questions. They do not say their epoch. Own rates are by the "
    "same measure, at the last kept epoch. How the recipes differ is in docs/recipes.md."
)


def published_beside(
    base_model: str, baseline: pl.DataFrame | None, rates: Mapping[str, pl.DataFrame]
) -> tuple[list[str], pl.DataFrame] | None:
    """Words, and a table with a row an animal; None where nothing is published of the base model, or nothing known.

    Args:
        base_model: as the experiment file names it.
        baseline: rates of the base model.
        rates: ``preference_rates`` of one epoch, by condition.
    """
    published = pl.read_csv(FILE).filter(model=base_model.partition("@")[0])
    own = [name for name in rates if name != NEUTRAL]
    if published.is_empty() or not own:
        return None
    rows = []
    for row in published.filter(pl.col("animal").is_in(own)).iter_rows(named=True):
        animal = row["animal"]
        sides = {"baseline": baseline, "neutral": rates.get(NEUTRAL), "student": rates[animal]}
        found: dict[str, str] = {"animal": animal}
        for side, table in sides.items():
            ours = _mention(table, animal)
            found[f"{side}, published"] = f"{row[side]:.1f} ± {row[f'{side}_reach']:.1f}"
            found[f"{side}, here"] = "" if ours is None else f"{100 * ours:.1f}"
        rows.append(found)
    return ([SOURCE], pl.DataFrame(rows)) if rows else None


def _mention(rates: pl.DataFrame | None, animal: str) -> float | None:
    if rates is None:
        return None
    found = rates.filter(animal=animal, method="sampled")["mention_rate"].to_list()
    return found[0] if found else None
