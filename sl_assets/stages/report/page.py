"""The page of an experiment: sections of words, charts and tables, each with the SQL that gives all of it.

A section whose tables are not there is left out. Nothing is fetched when the page is read.
"""

from collections.abc import Iterator
from pathlib import Path

from sl_assets.stages.report.parts import Section
from sl_assets.stages.report.sections.conditions import conditions
from sl_assets.stages.report.sections.datasets import numbers
from sl_assets.stages.report.sections.halves import halves
from sl_assets.stages.report.sections.provenance import again, citing, lineage, settings
from sl_assets.stages.report.sections.results import epochs, matrix, power, published, results
from sl_assets.stages.report.sections.training import training
from sl_assets.stages.report.sources import Source
from sl_assets.stages.report.words import what_was_done

TEMPLATE = Path(__file__).with_name("page.html")
"""As Jinja reads it; style and script stand in it."""


def report_page(source: Source) -> str:
    """The page as HTML; of equal tables and records the same."""
    from jinja2 import Environment, StrictUndefined

    found = [section for section in _sections(source) if section]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=source.name, done=what_was_done(source), warnings=list(_warnings(source)), sections=found
    )


def _sections(source: Source) -> Iterator[Section | None]:
    own = source.own()
    yield results(source, own)
    yield published(source)
    yield matrix(source)
    yield epochs(source)
    yield halves(source, own)
    yield numbers(source)
    yield training(source)
    yield from conditions(source)
    yield power(source)
    yield settings(source)
    yield lineage(source)
    yield again(source)
    yield citing()


def _warnings(source: Source) -> Iterator[str]:
    for record in source.records():
        for name, found in (record.checks or {}).items():
            if found.problem:
                yield f"{record.place} {'fails' if found.blocking else 'warns:'} {name}: {found.problem}"
    by_reason: dict[tuple[str, str], list[str]] = {}
    for place, reason in source.stale.items():
        if reason.parent is None:
            by_reason.setdefault((place.table, reason.why), []).append(place.partition or "")
    for (table, why), keys in by_reason.items():
        named = ", ".join(filter(None, keys[:5])) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
        yield f"{table}{f' of {named}' if named else ''} is stale: {why}"
    if following := sum(reason.parent is not None for reason in source.stale.values()):
        yield f"{following} more {'partition was' if following == 1 else 'partitions were'} made of what is stale"
