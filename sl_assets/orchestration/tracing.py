"""From a result back to everything it was made of, as lines for a terminal or as JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, blocked
from sl_assets.orchestration.asset import ExperimentGraph


@dataclass(frozen=True)
class Link:
    """A partition in the chain that leads to a result.

    Attributes:
        place: the partition.
        record: what is recorded of it; None where it is missing.
        stale: why it is stale; None where it is fresh.
        fails: why nothing may be made of it; None where that is allowed.
        now: versions of its parents as they are now; None of one that is not there any more.
    """

    place: Place
    record: Record | None
    stale: str | None = None
    fails: str | None = None
    now: Mapping[Place, str | None] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values: the record, without what the UI shows of it, and the state of the link."""
        found = {"experiment": self.place.experiment, "asset": self.place.table, "partition": self.place.partition}
        if self.record is None:
            return found | {"state": "missing"}
        content = json.loads(self.record.to_json())
        content["parents"] = [
            parent | {"version_now": version}
            for parent, version in zip(content["parents"], (self.now or {}).values(), strict=True)
        ]
        state = {"state": "stale" if self.stale else "fresh", "stale": self.stale, "not_to_be_used": self.fails}
        more = {"model": model_of(self.record), "seeds": seeds_named_in(self.record.settings)}
        return found | state | more | {name: value for name, value in content.items() if name not in UNSHOWN}


UNSHOWN = ("metadata", "behind", "asset", "partition")
"""Fields of a record that JSON leaves out: what the UI shows, what is told by the links behind, and the place."""


def links(graph: ExperimentGraph, lake: Lake, place: Place) -> Iterator[Link]:
    """The chain from ``place`` back to its first ancestors: what it was made of, and whether that holds.

    A parent that has been made anew since it was read is shown as it is now, and said to be another.
    """
    staleness = graph.staleness(lake)
    ahead, seen = [place], {place}
    while ahead:
        here = ahead.pop(0)
        record, reason = staleness.record(here), staleness.reason(here)
        if record is None:
            yield Link(here, None)
            continue
        fails = blocked(staleness.record, here)
        current = {parent: staleness.record(parent) for parent in record.parents}
        now = {parent: found.data_version if found else None for parent, found in current.items()}
        yield Link(here, record, reason and reason.why, str(fails) if fails else None, now)
        for parent in record.parents:
            if parent not in seen:
                seen.add(parent)
                ahead.append(parent)


def text_of(link: Link) -> Iterator[str]:
    """``link`` as lines for a terminal."""
    if link.record is None:
        yield f"{link.place}: missing"
        return
    state = f"STALE, for {link.stale}" if link.stale else "fresh"
    yield f"{link.place}: {state}" + (f"; NOT TO BE USED: {link.fails}" if link.fails else "")
    yield from (f"  {line}" for line in _made(link.record))
    for parent, read in link.record.parents.items():
        yield f"  read      {parent}, version {read}{_since(read, (link.now or {}).get(parent))}"
    yield ""


def _made(record: Record) -> Iterator[str]:
    yield f"version   {record.data_version}" + ("" if record.rows is None else f", {record.rows:,} rows")
    yield (
        f"made      {record.finished:%Y-%m-%d %H:%M:%S} UTC in {record.seconds:.1f} s by {record.engine}, "
        f"code {record.code_version}, run {record.run_id}"
    )
    if model := model_of(record):
        yield f"model     {model}"
    if seeds := seeds_named_in(record.settings):
        yield f"seeds     {', '.join(f'{name} = {json.dumps(value)}' for name, value in seeds.items())}"
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


def model_of(record: Record) -> str | None:
    """The base model that ``record`` tells of and what is known of its content; None where it tells of none."""
    model = record.settings.get("base_model")
    if not isinstance(model, Mapping):
        return None if model is None else str(model)
    name = next((str(model[key]) for key in ("repository", "name", "model") if model.get(key)), "")
    known = {"commit": "commit", "content": "content", "base_url": "served by"}
    told = [f"{said} {model[key]}" for key, said in known.items() if model.get(key)]
    return ", ".join([name, *told])


def seeds_named_in(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every seed in ``settings``, by its name as ``numbers.seed``."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name.rpartition(".")[2] in ("seed", "seeds"):
            found[name] = value
        elif isinstance(value, Mapping):
            found |= {f"{name}.{inner}": seed for inner, seed in seeds_named_in(value).items()}
    return found


def _since(read: str, now: str | None) -> str:
    if now is None:
        return ", which is not there any more"
    return "" if now == read else f", which is {now} now"
