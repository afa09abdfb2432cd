"""What the checks of a partition have come to, decided when it is made and again when what they go by has changed.

Outcomes stand in the partition's record, so that whoever reads the lake sees them. A record is written before its
checks are decided, for they read what it tells of; whoever meets one that is undecided decides it before anything is
made of the partition. Bounds have no part in the data: if they change, the checks are made again and nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from sl_assets.errors import PassingError, SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Outcome, Record, ancestry
from sl_assets.orchestration.commits import take_known_commit, with_commit
from sl_assets.orchestration.partition import Check, Step

if TYPE_CHECKING:
    from sl_assets.orchestration.asset import ExperimentGraph

Told = Callable[[Record], None]
"""Is told of a record whose checks were decided."""


def evaluated(graph: "ExperimentGraph", lake: Lake, record: Record) -> Record:
    """``record`` with the outcomes that its checks have today; it is not written.

    A look may find the partition damaged, whose record the lake forgets then.
    """
    if _current(graph, lake, record):
        return record
    graph = graph.known[record.place.experiment]
    checks = graph.declared[record.place.table].checks
    return replace(record, checks={check.name: _outcome(graph, lake, record, check) for check in checks})


def decide(graph: "ExperimentGraph", lake: Lake, place: Place, tell: Told = lambda _: None) -> Record | None:
    """Bring the outcomes in the record of ``place`` up to date; returns the record, None where there is none."""
    record = lake.record(place)
    if record is None or _current(graph, lake, record):
        return record
    with lake.making(place):
        # Perhaps it was made anew while this waited.
        before = lake.record(place)
        if before is None:
            return None
        record = evaluated(graph, lake, before)
        # A look that finds damage has the record forgotten; and in S3 the partition may be made anew meanwhile.
        if (now := lake.record(place)) != before:
            return now
        lake.write_record(record)
    tell(record)
    return record


def decide_behind(graph: "ExperimentGraph", lake: Lake, place: Place, tell: Told) -> None:
    """`decide` everything that ``place`` would be made of, all the way up."""
    records = cache(lake.record)
    parents = graph.parents(place.table, place.partition)
    ancestors = dict.fromkeys(record.place for parent in parents for record in ancestry(records, parent))
    for ancestor in ancestors:
        maker = graph.maker(ancestor)
        if maker and maker.declared[ancestor.table].checks:
            decide(graph, lake, ancestor, tell)


def _current(graph: "ExperimentGraph", lake: Lake, record: Record) -> bool:
    """Whether the outcomes are those of today's checks; what was made before there were any counts as passed."""
    maker = graph.maker(record.place)
    if record.checks is None or maker is None:
        return True
    graph = maker
    checks = graph.declared[record.place.table].checks
    known = (_known(record, check, _basis(graph, lake, record.place, check)) for check in checks)
    return record.checks.keys() == {check.name for check in checks} and all(known)


def _known(record: Record, check: Check, basis: Mapping[str, Any]) -> Outcome | None:
    found = (record.checks or {}).get(check.name)
    return found if found and found.basis == basis and found.blocking == check.blocking else None


def _outcome(graph: "ExperimentGraph", lake: Lake, record: Record, check: Check) -> Outcome:
    place, basis = record.place, _basis(graph, lake, record.place, check)
    if known := _known(record, check, basis):
        return known
    for bound in check.bounds:
        take_known_commit(graph.setting(bound), lake)
    # With reads of its own: what a check looks at is no input of what is made.
    step = Step(
        place.experiment,
        place.table,
        place.partition,
        "",
        lake.apart(),
        lambda _: None,
        trusting=True,
        named=graph.config.base_model,
        prepared=graph.prepared,
        elsewhere=graph.elsewhere,
    )
    try:
        problem, figures = check.look(step)
    except PassingError:
        raise
    except SlAssetsError as error:
        # Nothing is known, so nothing is trusted, and whoever meets it next tries again.
        return Outcome(f"cannot be decided: {error}", check.blocking, None, {})
    return Outcome(problem, check.blocking, basis, dict(figures))


def _basis(graph: "ExperimentGraph", lake: Lake, place: Place, check: Check) -> Mapping[str, Any]:
    bounds = {name: with_commit(graph.setting(name), lake) for name in check.bounds}
    others = (graph.place(other.table, other.partition) for other in check.beside(place))
    beside = {str(other): lake.record(other) for other in others}
    return bounds | {name: record and record.data_version for name, record in beside.items()}
