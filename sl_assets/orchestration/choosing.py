"""Of what is due, what a tick asks for: what fits into its limits, in the order of the graph, divided into runs.

Runs of one tick do not wait for one another, so of what is chosen those are asked for at once whose parents are there
or are made in the same run. What follows is chosen anew when they have ended.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sl_assets.config.schedule import ScheduleLimits
from sl_assets.lake.places import Place
from sl_assets.lake.staleness import Reason
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.declaration import Partitioning
from sl_assets.orchestration.outlook import outlooks
from sl_assets.orchestration.planner import Planned, Planner


class Spent(NamedTuple):
    """What is asked for.

    Attributes:
        partitions: how many.
        gpu_seconds: how long models may run for them, as far as records tell.
    """

    partitions: int = 0
    gpu_seconds: float = 0.0

    def and_(self, seconds: float) -> "Spent":
        """The same with a partition more, which runs models so long."""
        return Spent(self.partitions + 1, self.gpu_seconds + seconds)

    def within(self, limits: ScheduleLimits) -> bool:
        """Whether ``limits`` allow it."""
        most, minutes = limits.partitions, limits.gpu_minutes
        return (most is None or self.partitions <= most) and (minutes is None or self.gpu_seconds <= 60 * minutes)


NOTHING = Spent()


@dataclass(frozen=True)
class Choice:
    """What of a plan is asked for.

    Attributes:
        asked: by asset, parents first, the partitions that are chosen.
        in_part: assets among them of which other partitions are due as well, and not to be made.
        left: those beyond the limits, in the same form.
        waiting: those that are due and not meant, or read what is not meant, as another experiment's.
    """

    asked: list[Planned]
    in_part: set[str]
    left: list[Planned]
    waiting: list[Place]


class Run(NamedTuple):
    """A run to be asked for.

    Attributes:
        graph: whose assets it makes.
        assets: their names, parents first.
        first, last: ends of the range of its partitions, in every dimension; None where it has none.
        spent: how many partitions it makes, and how long models may run for them.
        whys: why, each reason once.
    """

    graph: ExperimentGraph
    assets: list[str]
    first: str | None
    last: str | None
    spent: Spent
    whys: list[str]


def seconds_of_models(planner: Planner, planned: Planned) -> float:
    """How long models run for one partition of ``planned``; 0 where none do, and where nothing tells."""
    return (planned.seconds or 0.0) if planner.declared(planned.asset).gpu else 0.0


def choose(
    planner: Planner, limits: ScheduleLimits, spent: Spent = NOTHING, only: Container[str] | None = None
) -> Choice:
    """What to ask for of everything that ``planner`` wants of its experiment and the variants.

    Args:
        planner: what is wanted.
        limits: what may be asked for in all; nothing is chosen behind the first partition that they do not allow.
        spent: what was asked for already, of these limits.
        only: assets (``experiment/name``) that are meant; None for all.
    """
    own = (planner.graph, *planner.variants)
    asked: list[Planned] = []
    in_part: set[str] = set()
    left: list[Planned] = []
    held: dict[Place, None] = {}
    for found in outlooks(planner):
        made = found.made
        graph, name = planner.whose(made.asset)
        ours = graph in own and (only is None or f"{graph.name}/{name}" in only)
        seconds = seconds_of_models(planner, made)
        now: dict[str | None, Reason] = {}
        later: dict[str | None, Reason] = {}
        for key, reason in made.due.items():
            place = planner.place(made.asset, key)
            if not ours or _waits(planner.parents(made.asset, key), key, held):
                held[place] = None
            elif left or later or not spent.and_(seconds).within(limits):
                later[key] = reason
            else:
                now[key], spent = reason, spent.and_(seconds)
        asked += [made._replace(due=now)] if now else []
        in_part |= {made.asset} if now.keys() != found.planned.due.keys() else set()
        left += [made._replace(due=later)] if later else []
    waiting = [place for place in held if any(place.experiment == graph.name for graph in own)]
    return Choice(asked, in_part, left, waiting)


def _waits(parents: Sequence[Place], partition: str | None, held: Container[Place]) -> bool:
    """Whether what reads ``parents`` has to wait; what has no partitions goes on with the partitions there are."""
    waiting = [parent in held for parent in parents if partition or parent.partition is None]
    return any(waiting) or (bool(parents) and all(parent in held for parent in parents))


def first_runs(planner: Planner, choice: Choice) -> list[Run]:
    """Runs that need not wait for one another, of those that make what is asked for.

    Where all partitions share a run, those of one kind are one, from the first to the last, and what has none goes with
    them: a model loads once. Else there is a run for every so many neighbours, and what has none has its own. A run
    makes whatever is due in its range, so an asset that is chosen in part is with none but those that are alike in it.
    """
    groups: dict[Group, list[Planned]] = {}
    group_of: dict[Place, Group] = {}
    later: set[Place] = set()
    for planned in choice.asked:
        graph, name = planner.whose(planned.asset)
        kind = graph.declared[name].by if graph.partitions_per_run else graph.finest(name)
        group = Group(graph.name, kind, frozenset(planned.due) if planned.asset in choice.in_part else None)
        parents = [parent for key in planned.due for parent in planner.parents(planned.asset, key)]
        places = [planner.place(planned.asset, key) for key in planned.due]
        if any(parent in later or group_of.get(parent, group) != group for parent in parents):
            later.update(places)
        else:
            groups.setdefault(group, []).append(planned)
            group_of |= dict.fromkeys(places, group)
    return [run for group, members in groups.items() for run in _divided(planner, members, bool(group.only))]


class Group(NamedTuple):
    """What may share a run.

    Attributes:
        experiment: whose assets they are.
        kind: what their partitions are keyed by.
        only: the partitions themselves, where others are due that are not to be made.
    """

    experiment: str
    kind: Partitioning | None
    only: frozenset[str | None] | None


def _divided(planner: Planner, members: Sequence[Planned], exactly: bool) -> Iterator[Run]:
    """Runs that make ``members``, whose partitions are of one kind, and ``exactly`` these, if nothing else may be."""
    graph, _ = planner.whose(members[0].asset)
    partitioned = next((planned for planned in members if planner.declared(planned.asset).by), None)
    if partitioned is None:
        yield _run(planner, graph, members, [None])
        return
    due = {key for planned in members for key in planned.due if key is not None}
    whole = hull(graph, planner.declared(partitioned.asset).by, due)
    # In between may be what nobody has asked for, and what is due of it would be made as well.
    exactly = exactly or any(keys_of(key)[0] not in planner.conditions for key in whole)
    if not graph.partitions_per_run and not exactly:
        yield _run(planner, graph, members, whole)
        return
    for stretch in planner.stretches(partitioned.asset, due):
        for piece in pieces([str(key) for key in stretch], graph.partitions_per_run or len(stretch)):
            yield _run(planner, graph, members, piece)


def hull(graph: ExperimentGraph, by: Partitioning | None, due: Container[str]) -> list[str]:
    """The smallest range of partitions that holds those that are ``due``: from the first to the last, by dimension."""
    keys = [keys_of(str(key)) for key in graph.keys(by)]
    for dimension in range(len(keys[0])):
        names = list(dict.fromkeys(key[dimension] for key in keys))
        found = [names.index(key[dimension]) for key in keys if "|".join(key) in due]
        keys = [key for key in keys if key[dimension] in names[min(found) : max(found) + 1]]
    return ["|".join(key) for key in keys]


def pieces(stretch: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """``stretch``, a range in every dimension, in ranges of ``size`` partitions at most."""
    firsts = len({keys_of(key)[0] for key in stretch})
    each = len(stretch) // firsts
    # Whole animals, if one of them is not too many already.
    wholes = cut(stretch, max(size // each, 1) * each)
    yield from wholes if size >= each else (piece for whole in wholes for piece in cut(whole, size))


def cut(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    """``keys`` in parts of ``size``."""
    return [keys[start : start + size] for start in range(0, len(keys), size)]


def _run(planner: Planner, graph: ExperimentGraph, members: Sequence[Planned], keys: Sequence[str | None]) -> Run:
    spent, assets, whys = Spent(), [], dict[str, None]()
    for planned in members:
        due = [reason for key, reason in planned.due.items() if key is None or key in keys]
        for reason in due:
            spent, whys[reason.why] = spent.and_(seconds_of_models(planner, planned)), None
        assets += [planner.whose(planned.asset)[1]] if due else []
    return Run(graph, assets, keys[0], keys[-1], spent, list(whys))
