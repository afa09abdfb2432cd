"""What of an experiment is to be made: assets in the order of their stages, and of each the partitions that are due.

Reads records, so it answers for thousands of partitions in a second; Dagster is not asked. Tables are read where bounds
of checks have changed, and checks have to be made again to say what they would.
"""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from statistics import median
from typing import NamedTuple

from sl_assets.errors import PassingError, SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.lake.staleness import Reason, Staleness
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.checks import evaluated

PUBLISHING = "8_publishing"
"""Stage that nothing starts but a person who names it."""


class Planned(NamedTuple):
    """An asset and what is to be done about it.

    Attributes:
        asset: name.
        due: partitions to be made, and why.
        stale: partitions that are not fresh only because of parents that were not asked for, and why.
        seconds: what a partition took so far, by the records there are; None where that is not asked or not known.
    """

    asset: str
    due: dict[str | None, Reason]
    stale: dict[str | None, Reason]
    seconds: float | None = None


AGAIN = Reason("asked for again")


@dataclass(frozen=True)
class Planner:
    """Plans what a user has asked for.

    Attributes:
        graph: the experiment.
        lake: where its results are.
        conditions: partitions wanted, in the experiment's order.
        through: last assets wanted, by name and comma-separated; None for all.
        again: fresh partitions are made, too.

    Raises:
        SlAssetsError: ``through`` names no asset.
    """

    graph: ExperimentGraph
    lake: Lake
    conditions: Sequence[str]
    through: str | None = None
    again: bool = False

    @cached_property
    def assets(self) -> list[str]:
        """Names of the assets that are wanted, parents first; those of one stage together."""
        # No stage reads of a later one, and every stage declares parents first. In this order an engine that was
        # started serves longest.
        names = sorted(self.graph.declared, key=lambda name: self.graph.declared[name].stage)
        if self.through is None:
            return [name for name in names if self.graph.declared[name].stage != PUBLISHING]
        last = re.findall(r"[^,\s]+", self.through)
        if not last:
            raise SlAssetsError(f"--through {self.through!r}: names no asset; leave it out for the whole graph")
        if unknown := [name for name in last if name not in names]:
            raise SlAssetsError(f"--through {unknown[0]}: no such asset; {self.graph.name} has {', '.join(names)}")
        needed: set[str] = set()
        for name in reversed(names):
            if name in last or name in needed:
                needed |= {name, *(dep.asset for dep in self.graph.declared[name].deps)}
        return [name for name in names if name in needed]

    def wanted(self, asset: str) -> list[Place]:
        """Partitions of ``asset`` that belong to the conditions."""
        keys = self.graph.keys(self.graph.declared[asset].by)
        # A key of two dimensions is "owl|animal_high": the animal comes first.
        chosen = [key for key in keys if key is None or keys_of(key)[0] in self.conditions]
        return [self.graph.place(asset, key) for key in chosen]

    def record(self, place: Place) -> Record | None:
        """What is recorded of ``place``, with the outcomes of its checks today, as far as they can be decided."""
        record = self.lake.record(place)
        try:
            return record and evaluated(self.graph, self.lake, record)
        except PassingError:
            # The Hub does not answer; a run that has to know it will ask again.
            return record

    def due(self, asset: str, staleness: Staleness | None = None) -> Planned:
        """What is to be made of ``asset`` now, its parents being as they are."""
        now = staleness or self.graph.staleness(self.lake)
        due: dict[str | None, Reason] = {}
        stale: dict[str | None, Reason] = {}
        for place in self.wanted(asset):
            if (own := now.own_reason(place)) or self.again:
                due[place.partition] = own or AGAIN
            elif inherited := now.reason(place):
                stale[place.partition] = inherited
        return Planned(asset, due, stale)

    def plan(self) -> Iterator[Planned]:
        """What would be made, asset by asset.

        Whatever reads what is made is counted, too, though it stays fresh if that turns out to be what it was.
        """
        now = self.graph.staleness(self.lake)
        made: set[Place] = set()
        for asset in self.assets:
            found = self.due(asset, now)
            due: dict[str | None, Reason] = {}
            for place in self.wanted(asset):
                remade = [parent for parent in self.graph.parents(asset, place.partition) if parent in made]
                if own := found.due.get(place.partition):
                    due[place.partition] = own
                elif remade:
                    due[place.partition] = Reason(f"{remade[0].table} is made", remade[0])
            made |= {self.graph.place(asset, partition) for partition in due}
            stale = {key: reason for key, reason in found.stale.items() if key not in due}
            yield Planned(asset, due, stale, self._seconds(asset, now) if due else None)

    def _seconds(self, asset: str, now: Staleness) -> float | None:
        """Median of what partitions of ``asset`` took: of those that are wanted, or else of any.

        A partition without rows, such as the neutral teacher that is the base model, tells nothing of the others.
        """
        every = (self.graph.place(asset, key) for key in self.graph.keys(self.graph.declared[asset].by))
        for places in (self.wanted(asset), every):
            if took := [record.seconds for place in places if (record := now.record(place)) and record.rows != 0]:
                return median(took)
        return None

    def needs_models(self) -> bool:
        """Whether what would be made includes what runs a model; tables and charts do not."""
        return any(planned.due and self.graph.declared[planned.asset].gpu for planned in self.plan())

    def stretches(self, asset: str, due: Container[str | None]) -> list[list[str | None]]:
        """Partitions that Dagster runs at one go: from one key to another in every dimension, and only those due."""
        by = self.graph.declared[asset].by
        match by:
            case None:
                return [[None]] if None in due else []
            case "split":
                config = self.graph.config
                return rectangles(config.animals, config.splits, due)
        return [list(stretch) for stretch in runs_of([str(key) for key in self.graph.keys(by)], due)]


def runs_of(keys: Sequence[str], due: Container[str | None]) -> list[tuple[str, ...]]:
    """Neighbours among ``keys`` that are all ``due``."""
    return [tuple(run) for wanted, run in groupby(keys, lambda key: key in due) if wanted]


def rectangles(outer: Sequence[str], inner: Sequence[str], due: Container[str | None]) -> list[list[str | None]]:
    """The ``due`` keys ``outer|inner`` as products of neighbours in one dimension and neighbours in the other."""

    def runs(first: str) -> list[tuple[str, ...]]:
        return runs_of(inner, {second for second in inner if f"{first}|{second}" in due})

    groups = [(found, list(neighbours)) for found, neighbours in groupby(outer, runs)]
    return [
        [f"{first}|{second}" for first in together for second in run] for found, together in groups for run in found
    ]


def listed(partitions: Sequence[str | None]) -> str:
    """``owl (animal_high, animal_low), wolf``: keys of two dimensions grouped by the first."""
    groups = groupby([keys_of(partition) for partition in partitions if partition], lambda keys: keys[0])
    return ", ".join(
        f"{first} ({', '.join(keys[1] for keys in members)})" if len((members := list(group))[0]) > 1 else first
        for first, group in groups
    )
