"""The page of an experiment: sections of words, charts and tables, each with the SQL that gives all of it.

A section whose tables are not there is left out, and the head says what they are. Nothing is fetched when the page is
read.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sl_assets.stages.report.parts import Section
from sl_assets.stages.report.sections.datasets import numbers, projections
from sl_assets.stages.report.sections.halves import halves
from sl_assets.stages.report.sections.provenance import again, citing, lineage, settings
from sl_assets.stages.report.sections.results import epochs, matrix, power, published, results
from sl_assets.stages.report.sections.samples import samples
from sl_assets.stages.report.sections.training import training
from sl_assets.stages.report.sources import Source
from sl_assets.stages.report.words import what_was_done

TEMPLATE = Path(__file__).with_name("page.html")
"""As Jinja reads it; style and script stand in it."""


def report_page(source: Source) -> str:
    """The page as HTML; of equal tables and records the same."""
    from jinja2 import Environment, StrictUndefined

    found = [section for section in _sections(source) if section]
    _land(found)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=source.name, done=what_was_done(source), warnings=list(_warnings(source)), sections=found
    )


def _sections(source: Source) -> Iterator[Section | None]:
    yield results(source)
    yield published(source)
    yield matrix(source)
    yield epochs(source)
    yield halves(source)
    yield numbers(source)
    yield projections(source)
    yield training(source)
    yield from samples(source)
    yield power(source)
    yield settings(source)
    yield lineage(source)
    yield again(source)
    yield citing()


def _land(sections: Sequence[Section]) -> None:
    """Links to samples that are not there lead to the list of those that are."""
    there = {place for section in sections for place in (section.id, *section.anchors)}
    wanted: set[str] = set()
    for part in (part for section in sections for part in section.parts):
        wanted |= set(re.findall(r'href="#([^"]+)"', part.chart))
        wanted |= {cell.link for row in part.rows for cell in row if cell.link}
    for section in sections:
        if section.id == "samples":
            section.anchors = [*section.anchors, *sorted(wanted - there)]


def _warnings(source: Source) -> Iterator[str]:
    yield from _absent(source)
    problems: dict[tuple[str, str, bool], dict[str, str]] = {}
    for record in source.records():
        for name, found in (record.checks or {}).items():
            if found.problem:
                of_kind = problems.setdefault((record.place.table, name, found.blocking), {})
                of_kind[record.place.partition or ""] = found.problem
    for (table, name, blocking), found_of in problems.items():
        # What a check says of several partitions differs in its figures, which are in the view `checks`.
        said = next(iter(found_of.values()))
        example = said if len(found_of) == 1 else f"of the first, {said}"
        verb = ("fail" if blocking else "warn") + ("s" if len(found_of) == 1 else "")
        yield f"{_of(table, list(found_of))} {verb} {name}: {example}"
    by_reason: dict[tuple[str, str], list[str]] = {}
    for place, reason in source.stale.items():
        if reason.parent is None:
            # What is said of each partition of its own parent is said once.
            why = reason.why.replace(f" of {place.partition} ", " ")
            by_reason.setdefault((place.table, why), []).append(place.partition or "")
    for (table, why), keys in by_reason.items():
        yield f"{_of(table, keys)} {'is' if len(keys) == 1 else 'are'} stale: {why}"
    if following := sum(reason.parent is not None for reason in source.stale.values()):
        yield f"{following} more {'partition was' if following == 1 else 'partitions were'} made of what is stale"


def _absent(source: Source) -> Iterator[str]:
    """What is not on the page for not being made, or for not being in this lake."""
    missing = source.missing()
    if missing:
        counts = {asset: (len(keys), len(source.assets[asset])) for asset, keys in missing.items()}
        named = [name if lacks == of else f"{name} ({lacks} of {of})" for name, (lacks, of) in counts.items()]
        yield f"Not made, and so not on this page: {', '.join(named)}; sl-assets run {source.name} makes it"
    if "transfer" in missing and source.own is not None:
        yield "Without transfer there are no rates of the base model, and no intervals and tests of differences"
    if source.lost:
        lost = Counter(place.table for place in source.lost)
        tables = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in lost.items())
        yield f"Recorded, but without their tables in this lake, or with damaged ones, and so left out: {tables}"


def _of(table: str, keys: Sequence[str | None]) -> str:
    """``table`` with the first of the partitions ``keys``, and how many more there are."""
    named = ", ".join(filter(None, keys[:5])) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
    return f"{table} of {named}" if named else table
