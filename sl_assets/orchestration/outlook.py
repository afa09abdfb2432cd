"""What a plan would make, for a terminal: a line for every asset, not longer than the terminal is wide.

What is not made, and what checks say of what is there, is told here for the plan and the run alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import NamedTuple

from sl_assets.lake.places import Place
from sl_assets.lake.records import Records, blocked, failing
from sl_assets.lake.staleness import MISSING, Reason
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.durations import duration
from sl_assets.orchestration.planner import AGAIN, Planned, Planner, listed

COLUMN = 30
"""Width of an asset's name."""

WIDTH = 120
UNKNOWN = "unknown"


class Outlook(NamedTuple):
    """What would become of an asset.

    Attributes:
        planned: what is to be made of it, as the planner says.
        waiting: those of its partitions that cannot be made, each with the parent that has failed.
        unusable: of partitions that are there and stay, those that nothing may be made of, and why.
        warnings: what checks say of those that stay, a line each.
    """

    planned: Planned
    waiting: dict[str | None, Place]
    unusable: dict[str | None, str]
    warnings: list[str]

    @property
    def made(self) -> Planned:
        """What is to be made of it, without what waits."""
        return self.planned._replace(due={key: why for key, why in self.planned.due.items() if key not in self.waiting})


def outlooks(planner: Planner) -> Iterator[Outlook]:
    """What would become of every asset, if all that is due were made."""
    failed: dict[Place, str] = {}
    records = cache(planner.record)
    for planned in planner.plan():
        waiting = waiting_for(planner, planned, failed)
        failed |= {planner.place(planned.asset, partition): "" for partition in waiting}
        there = [place for place in planner.wanted(planned.asset) if place.partition not in planned.due]
        warnings = list(check_lines(records, there, failed))
        unusable = {place.partition: why for place in there if (why := _unusable(records, place))}
        yield Outlook(planned, waiting, unusable, warnings)


def plan_lines(planner: Planner, width: int = WIDTH) -> Iterator[str]:
    """What would be made of every asset, why, and how long that may take; what checks would say of what stays as it is.

    The last line sums up.
    """
    counted: list[Planned] = []
    for found in outlooks(planner):
        made = found.made
        for line in (*_lines(made, found.waiting, width), *left_out_lines(found.planned, found.waiting, width)):
            yield _cut(line, width)
        # Whole, for they end with the fix.
        yield from found.warnings
        counted += [made] if made.due else []
    if counted:
        yield _cut(_line("in all", *_total(counted)), width)


def waiting_for(planner: Planner, planned: Planned, failed: Mapping[Place, str]) -> dict[str | None, Place]:
    """Partitions that cannot be made, each with the parent that has failed.

    What has no partitions goes on with the partitions there are.
    """
    found: dict[str | None, Place] = {}
    for key in (*planned.due, *planned.stale):
        lost = (
            place for place in planner.parents(planned.asset, key) if place in failed and (key or not place.partition)
        )
        if first := next(lost, None):
            found[key] = first
    return found


def left_out_lines(planned: Planned, waiting: Mapping[str | None, Place], width: int | None = None) -> Iterator[str]:
    """Partitions that wait for one that failed, and those that stay stale."""
    name = f"{planned.asset:<{COLUMN}}"
    for partition, parent in waiting.items():
        yield f"{name} not made: {partition or 'it'} waits for {_named(parent)}, which failed"
    if stale := {key: reason for key, reason in planned.stale.items() if key not in waiting}:
        room = width and width - len(name) - 1
        yield f"{name} {not_made(stale, room)}"


def check_lines(records: Records, places: Sequence[Place], failed: dict[Place, str]) -> Iterator[str]:
    """What checks say of ``places``; those of which nothing may be made are added to ``failed``."""
    for place in places:
        if (record := records(place)) is None:
            continue
        named = place.partition or "it"
        for name, outcome in (record.checks or {}).items():
            if outcome.problem and not outcome.blocking:
                yield f"{place.table:<{COLUMN}} warning: {named} fails {name}: {outcome.problem}"
        if why := _unusable(records, place):
            found = failing(record)
            failed[place] = str(found) if found else ""
            yield f"{place.table:<{COLUMN}} not to be used: {named} {why}"


def _unusable(records: Records, place: Place) -> str | None:
    """Why nothing may be made of ``place``; None where something may, and where nothing is there."""
    if (record := records(place)) is None:
        return None
    if found := failing(record):
        return f"fails {found.check}: {found.problem}"
    if found := blocked(records, place):
        return f"was made of {found.place}, which fails {found.check}"
    return None


def _named(place: Place) -> str:
    return place.table + (f" of {place.partition}" if place.partition else "")


def not_made(stale: Mapping[str | None, Reason], room: int | None = None) -> str:
    """That ``stale`` partitions are not made, for what they read was not asked for."""
    why = f" ({next(iter(stale.values())).why}, not asked for)"
    partitions = grouped(list(stale), None if room is None else room - len(f"stays stale: {why}"))
    return f"stays stale{': ' + partitions if partitions else ''}{why}"


def grouped(partitions: Sequence[str | None], room: int | None) -> str:
    """``partitions`` by name if they fit into ``room``, else as briefly as need be."""
    named = [keys_of(partition) for partition in partitions if partition]
    by_first = {first: [keys[1] for keys in members if len(keys) > 1] for first, members in groupby(named, _first)}
    firsts, halves = list(by_first), next(iter(by_first.values()), [])
    forms = [listed(partitions)]
    if halves and all(members == halves for members in by_first.values()):
        inner = f"({halves[0]} ... {len(halves)} halves)" if len(halves) > 1 else f"({halves[0]})"
        forms += [f"{', '.join(firsts)} {inner}", f"{len(firsts)} animals {inner}"]
    if halves:
        forms += [f"{len(named)} halves of {firsts[0] if len(firsts) == 1 else f'{len(firsts)} animals'}"]
    elif len(firsts) > 2:
        forms += [f"{firsts[0]} ... {firsts[-1]} ({len(firsts)})"]
    return next((form for form in forms if room is None or len(form) <= room), forms[-1])


def _first(keys: Sequence[str]) -> str:
    return keys[0]


def _lines(planned: Planned, waiting: Mapping[str | None, Place], width: int) -> Iterator[str]:
    if not planned.due and not planned.stale and not waiting:
        yield _line(planned.asset, "", "fresh")
    for state, reasons in _by_state(planned.due).items():
        took = UNKNOWN if planned.seconds is None else duration(planned.seconds * len(reasons))
        room = width - len(_line(planned.asset, took, ""))
        yield _line(planned.asset, took, _what(state, reasons, room))


def state_of(reason: Reason) -> str:
    """What is said of a partition that is due for ``reason``, in a word."""
    return "missing" if reason == MISSING else "again" if reason == AGAIN else "stale"


def _by_state(due: Mapping[str | None, Reason]) -> dict[str, dict[str | None, Reason]]:
    found: dict[str, dict[str | None, Reason]] = {}
    for partition, reason in due.items():
        found.setdefault(state_of(reason), {})[partition] = reason
    return found


def _what(state: str, reasons: Mapping[str | None, Reason], room: int) -> str:
    whys = list(dict.fromkeys(reason.why for reason in reasons.values()))
    why = f" ({'; '.join(whys[:2])}{'; ...' if len(whys) > 2 else ''})" if state == "stale" else ""
    partitions = grouped(list(reasons), room - len(f"{state}: {why}"))
    return f"{state}{': ' + partitions if partitions else ''}{why}"


def _total(due: Sequence[Planned]) -> tuple[str, str]:
    """How long all that is ``due`` may take, and how much it is."""
    known = [planned.seconds * len(planned.due) for planned in due if planned.seconds is not None]
    count = sum(len(planned.due) for planned in due)
    what = f"{count:,} {'partition' if count == 1 else 'partitions'}"
    if unknown := len(due) - len(known):
        what += f"; not counted: {unknown} of {len(due)} assets, of which nothing is made yet"
    return duration(sum(known)) if known else UNKNOWN, what


def _line(name: str, took: str, what: str) -> str:
    return f"{name:<{COLUMN}} {took:>8}  {what}"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 4]} ..."
