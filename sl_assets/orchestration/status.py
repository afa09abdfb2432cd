"""How an experiment stands: which partitions are fresh, missing, stale or failed, why, and how long the rest may take.

It is what a plan finds, a row a partition, or counted by asset or experiment.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import polars as pl

from sl_assets.lake.places import Place
from sl_assets.orchestration.durations import duration
from sl_assets.orchestration.outlook import UNKNOWN, Outlook, outlooks, state_of
from sl_assets.orchestration.planner import Planner

FRESH, MISSING, STALE, FAILED = STATES = ("fresh", "missing", "stale", "failed")
"""Failed are those that nothing may be made of, and those that wait for one of them."""

WHYS = 2
"""Reasons named of an asset."""


class Status(NamedTuple):
    """How a partition stands.

    Attributes:
        experiment, asset, partition: which; of what is shared, the experiment that makes it.
        state: one of `STATES`.
        why: in a few words; None where it is fresh or missing.
        seconds: how long it may take to make; None where it is not made, and where nothing tells.
    """

    experiment: str
    asset: str
    partition: str | None
    state: str
    why: str | None = None
    seconds: float | None = None


SCHEMA = {
    "experiment": pl.String(),
    "asset": pl.String(),
    "partition": pl.String(),
    "state": pl.String(),
    "why": pl.String(),
    "seconds": pl.Float64(),
}
"""Columns of a table of them."""


def statuses(planner: Planner) -> Iterator[Status]:
    """How every wanted partition stands, in the order in which they would be made."""
    for found in outlooks(planner):
        for place in planner.wanted(found.planned.asset):
            yield Status(place.experiment, place.table, place.partition, *_standing(found, place))


def _standing(found: Outlook, place: Place) -> tuple[str, str | None, float | None]:
    key, planned = place.partition, found.planned
    if parent := found.waiting.get(key):
        return FAILED, f"waits for {parent}, which failed", None
    if reason := planned.due.get(key):
        state = state_of(reason)
        return state, None if state == MISSING else reason.why, planned.seconds
    if reason := planned.stale.get(key):
        return STALE, f"{reason.why}, not asked for", None
    if why := found.unusable.get(key):
        return FAILED, why, None
    return FRESH, None, None


def by_asset(found: Sequence[Status]) -> list[dict[str, Any]]:
    """Counts of an experiment's assets, a row each, with why, and a last row of all."""
    groups: dict[tuple[str, str], list[Status]] = {}
    for status in found:
        groups.setdefault((status.experiment, status.asset), []).append(status)
    own = found[0].experiment if found else ""
    rows = []
    for (experiment, asset), members in groups.items():
        name = asset if experiment == own else f"{experiment}/{asset}"
        whys = list(dict.fromkeys(status.why for status in members if status.why))
        why = "; ".join([*whys[:WHYS], *(["..."] if len(whys) > WHYS else [])])
        rows.append({"asset": name, **counted(members), "why": why})
    return [*rows, {"asset": "in all", **counted(list(chain(*groups.values()))), "why": ""}]


def counted(found: Sequence[Status]) -> dict[str, str]:
    """How many of ``found`` are in each state, and how long what is due may take; nothing is said of none."""
    counts = {state: sum(status.state == state for status in found) for state in STATES}
    due = [status for status in found if status.state in (MISSING, STALE)]
    known = [status.seconds for status in due if status.seconds is not None]
    takes = duration(sum(known)) if known else UNKNOWN if due else ""
    more = " or more" if known and len(known) < len(due) else ""
    return {state: f"{count:,}" if count else "" for state, count in counts.items()} | {"takes": takes + more}
