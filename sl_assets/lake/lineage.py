"""Who was made of what, and with which settings: questions to the ``lineage`` table."""

from collections.abc import Mapping, Sequence
from typing import Any

from sl_assets.lake.lake import Lake, Place
from sl_assets.lake.views import query

LineageRow = Mapping[str, Any]
"""A row of the table ``lineage``, by column."""


def read_lineage(lake: Lake, experiment: str) -> Sequence[LineageRow]:
    """The rows of ``experiment``."""
    return query(lake, "SELECT * FROM lineage").filter(experiment=experiment).to_dicts()


def ancestry(lineage: Sequence[LineageRow], asset: str, partition: str | None, version: str) -> list[LineageRow]:
    """Rows of ``lineage`` that lead to ``version`` of a partition of ``asset``, parents first.

    Where the same version was made several times, the last time counts. What was made without a record is left out.
    """
    made = {
        (row["asset"], row["partition"], row["data_version"]): row
        for row in sorted(lineage, key=lambda row: row["finished_at"])
    }
    found: dict[tuple[str, str | None, str], LineageRow] = {}

    def visit(key: tuple[str, str | None, str]) -> None:
        if key in found or key not in made:
            return
        for parent in made[key]["parents"]:
            visit((parent["asset"], parent["partition"], parent["data_version"]))
        found[key] = made[key]

    visit((asset, partition, version))
    return list(found.values())


def settings_behind(lineage: Sequence[LineageRow], place: Place, version: str) -> dict[str, str]:
    """Code version, and so settings, of every asset that led to ``version`` of ``place``."""
    return {row["asset"]: row["code_version"] for row in ancestry(lineage, place.table, place.partition, version)}
