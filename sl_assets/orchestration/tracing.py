"""From a result back to everything it was made of, as lines for a terminal."""

import json
from collections.abc import Iterator

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, blocked
from sl_assets.orchestration.asset import ExperimentGraph


def trace(graph: ExperimentGraph, lake: Lake, place: Place) -> Iterator[str]:
    """The chain from ``place`` back to its first ancestors: what it was made of, and whether that holds.

    A parent that has been made anew since it was read is shown as it is now, and said to be another.
    """
    staleness = graph.staleness(lake)
    ahead, seen = [place], {place}
    while ahead:
        here = ahead.pop(0)
        record, reason = staleness.record(here), staleness.reason(here)
        if record is None:
            yield f"{here}: missing"
            continue
        fails = blocked(staleness.record, here)
        state = "fresh" if reason is None else f"STALE, for {reason.why}"
        yield f"{here}: {state}" + (f"; NOT TO BE USED: {fails}" if fails else "")
        yield from (f"  {line}" for line in _made(record))
        for parent, read in record.parents.items():
            yield f"  read      {parent}, version {read}{_now(staleness.record(parent), read)}"
            if parent not in seen:
                seen.add(parent)
                ahead.append(parent)
        yield ""


def _made(record: Record) -> Iterator[str]:
    yield f"version   {record.data_version}" + ("" if record.rows is None else f", {record.rows:,} rows")
    yield (
        f"made      {record.finished:%Y-%m-%d %H:%M:%S} UTC in {record.seconds:.1f} s by {record.engine}, "
        f"code {record.code_version}, run {record.run_id}"
    )
    if record.students:
        yield f"students  {', '.join(f'seed {seed} {version}' for seed, version in record.students.items())}"
    if record.libraries:
        yield f"libraries {', '.join(f'{name} {version}' for name, version in record.libraries.items())}"
    for name, value in record.settings.items():
        yield f"setting   {name} = {json.dumps(value, sort_keys=True)}"
    if record.checks is None:
        yield "checks    not made: it is older than they are"
    for name, outcome in (record.checks or {}).items():
        failed = "fails" if outcome.blocking else "warning"
        yield f"check     {name}: " + (f"{failed}: {outcome.problem}" if outcome.problem else "passed")
    for name, value in record.inputs.items():
        yield f"input     {name} = {json.dumps(value, sort_keys=True)}"


def _now(record: Record | None, read: str) -> str:
    if record is None:
        return ", which is not there any more"
    return "" if record.data_version == read else f", which is {record.data_version} now"
