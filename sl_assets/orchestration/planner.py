"""What of an experiment is to be made: assets in the order of their stages, and of each the partitions that are due.

Reads records, so it answers for thousands of partitions in a second; Dagster is not asked. Tables are read where bounds
of checks have changed, and checks have to be made again to say what they would.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from statistics import mean, median
from typing import NamedTuple

from sl_assets.config.names import names_in
from sl_assets.errors import PassingError, SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.lake.replicates import students_of
from sl_assets.lake.staleness import Reason, Staleness, seeds_named
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.checks import evaluated
from sl_assets.orchestration.declaration import Declared


class Planned(NamedTuple):
    """An asset and what is to be done about it.

    Attributes:
        asset: name; of an asset of another experiment, after that experiment's.
        due: partitions to be made, and why.
        stale: partitions that are not fresh only because of parents that were not asked for, and why.
        seconds: what a partition took so far, by the records there are; None where that is not asked or not known.
    """

    asset: str
    due: dict[str | None, Reason]
    stale: dict[str | None, Reason]
    seconds: float | None = None


AGAIN = Reason("asked for again")


def _is_made(parent: Place, why: Reason) -> Reason:
    """The reason to make what reads ``parent``, which is made for the reason ``why``."""
    return Reason(f"{parent.table} is made{'' if why.seeds is None else f': {seeds_named(why.seeds)}'}", parent)


@dataclass(frozen=True)
class Planner:
    """Plans what a user has asked for.

    An asset is called by its name, one that is another experiment's ``experiment/name``: what is shared with it, and
    what leads to that, is made as well.

    Attributes:
        graph: the experiment.
        lake: where its results are.
        conditions: partitions wanted, in the experiment's order.
        through: last assets wanted, by name and comma-separated; None for all.
        again: fresh partitions are made, too.
        variants: those of the experiment's variants that are wanted with it.

    Raises:
        SlAssetsError: ``through`` names no asset.
    """

    graph: ExperimentGraph
    lake: Lake
    conditions: Sequence[str]
    through: str | None = None
    again: bool = False
    variants: Sequence[ExperimentGraph] = ()

    @cached_property
    def assets(self) -> list[str]:
        """Names of the assets that are wanted, parents first; those of one stage together."""
        # No stage reads of a later one, and every stage declares parents first. In this order an engine that was
        # started serves longest.
        return sorted(self._wanted, key=lambda asset: self.declared(asset).stage)

    @cached_property
    def _wanted(self) -> dict[str, tuple[ExperimentGraph, str]]:
        """Whose each wanted asset is, and its name there, parents first."""
        last = None if self.through is None else self._last(self.through)
        found: dict[str, tuple[ExperimentGraph, str]] = {}

        def add(graph: ExperimentGraph, name: str) -> None:
            label = name if graph is self.graph else f"{graph.name}/{name}"
            if label in found:
                return
            for dep in graph.declared[name].deps:
                add(graph.source_of(dep), dep.asset)
            found[label] = graph, name

        asked = (self.graph, *self.variants)
        experiments = {None, *(graph.name for graph in asked)}
        for graph in asked:
            for name, owner in graph.assets.items():
                declared = owner.declared[name]
                # What compares variants is not wanted where they are not.
                meant = declared.automatic and {dep.experiment for dep in declared.deps} <= experiments
                if name in last if last is not None else meant:
                    add(owner, name)
        return found

    def _last(self, through: str) -> list[str]:
        last = names_in(through)
        if not last:
            raise SlAssetsError(f"--through {through!r}: names no asset; leave it out for the whole graph")
        names = list(dict.fromkeys(name for graph in (self.graph, *self.variants) for name in graph.assets))
        if unknown := [name for name in last if name not in names]:
            raise SlAssetsError(f"--through {unknown[0]}: no such asset; {self.graph.name} has {', '.join(names)}")
        return last

    def whose(self, asset: str) -> tuple[ExperimentGraph, str]:
        """The experiment that makes ``asset``, and its name there."""
        return self._wanted[asset]

    def declared(self, asset: str) -> Declared:
        """``asset`` as it was declared."""
        graph, name = self._wanted[asset]
        return graph.declared[name]

    def place(self, asset: str, partition: str | None) -> Place:
        """Where a partition of ``asset`` is in the lake."""
        graph, name = self._wanted[asset]
        return graph.place(name, partition)

    def parents(self, asset: str, partition: str | None) -> list[Place]:
        """Partitions that this one would read, whether or not they are there."""
        graph, name = self._wanted[asset]
        return graph.parents(name, partition)

    @cached_property
    def graphs(self) -> list[ExperimentGraph]:
        """Experiments whose assets are wanted."""
        return list(dict.fromkeys(graph for graph, _ in self._wanted.values()))

    def wanted(self, asset: str) -> list[Place]:
        """Partitions of ``asset`` that belong to the conditions."""
        graph, name = self._wanted[asset]
        # A key of two dimensions is "owl|animal_high": the animal comes first.
        chosen = (
            key for key in graph.keys(graph.declared[name].by) if key is None or keys_of(key)[0] in self.conditions
        )
        return [graph.place(name, key) for key in chosen]

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
        made: dict[Place, Reason] = {}
        for asset in self.assets:
            found = self.due(asset, now)
            due: dict[str | None, Reason] = {}
            for place in self.wanted(asset):
                remade = [parent for parent in self.parents(asset, place.partition) if parent in made]
                if own := found.due.get(place.partition):
                    # Students of other rows are none to keep.
                    due[place.partition] = (
                        Reason(own.why.partition(": ")[0]) if remade and own.seeds is not None else own
                    )
                elif remade:
                    due[place.partition] = _is_made(remade[0], made[remade[0]])
            made |= {self.place(asset, partition): reason for partition, reason in due.items()}
            stale = {key: reason for key, reason in found.stale.items() if key not in due}
            yield Planned(asset, due, stale, self._seconds(asset, now, due) if due else None)

    def _seconds(self, asset: str, now: Staleness, due: Mapping[str | None, Reason]) -> float | None:
        """Median of what partitions of ``asset`` took: of those that are wanted, or else of any.

        A partition without rows, such as the neutral teacher that is the base model, tells nothing of the others. Where
        all that are ``due`` keep students, it is counted by the students that are made.
        """
        graph, name = self._wanted[asset]
        made = [len(reason.seeds) for reason in due.values() if reason.seeds is not None]
        if len(made) == len(due):
            there = [record for key in due if (record := now.record(graph.place(name, key)))]
            return median(record.seconds / len(students_of(record)) for record in there) * mean(made)
        every = (graph.place(name, key) for key in graph.keys(graph.declared[name].by))
        for places in (self.wanted(asset), every):
            if took := [record.seconds for place in places if (record := now.record(place)) and record.rows != 0]:
                return median(took)
        return None

    def needs_models(self) -> bool:
        """Whether what would be made includes what runs a model; tables and charts do not."""
        return any(planned.due and self.declared(planned.asset).gpu for planned in self.plan())

    def stretches(self, asset: str, due: Container[str | None]) -> list[list[str | None]]:
        """Partitions that Dagster runs at one go: from one key to another in every dimension, and only those due."""
        graph, name = self._wanted[asset]
        by = graph.declared[name].by
        match by:
            case None:
                return [[None]] if None in due else []
            case "split":
                return rectangles(graph.config.animals, graph.config.splits, due)
        return [list(stretch) for stretch in runs_of([str(key) for key in graph.keys(by)], due)]


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
