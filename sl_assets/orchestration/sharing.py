"""Which assets of an experiment are another's: those that would be made of the same, all the way up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sl_assets.errors import ExperimentFileError
from sl_assets.lake.records import identity
from sl_assets.orchestration.declaration import Declared, Dep, condition_of_key

if TYPE_CHECKING:
    from sl_assets.orchestration.asset import ExperimentGraph


def lender_of(graph: "ExperimentGraph", declared: Declared) -> "ExperimentGraph | None":
    """The first lender whose asset of this name is made of the same, in itself and in all that leads to it.

    Raises:
        ExperimentFileError: the file sets a bound of a check of it, which would have no effect.
    """
    for lender in graph.lenders:
        if declared.name in lender.assets and _same(graph, declared, owner := lender.owner(declared.name)):
            _note_bounds(graph, declared, owner)
            return owner
    return None


def _same(graph: "ExperimentGraph", declared: Declared, owner: "ExperimentGraph") -> bool:
    theirs = owner.declared[declared.name]

    def sources(whose: "ExperimentGraph", deps: Sequence[Dep]) -> list[tuple[str, str, str | None]]:
        return [(whose.source_of(dep).name, dep.asset, dep.only) for dep in deps]

    if (declared.by, declared.version) != (theirs.by, theirs.version):
        return False
    if sources(graph, declared.deps) != sources(owner, theirs.deps):
        return False
    conditions = dict.fromkeys(condition_of_key(key) for key in graph.keys(declared.by))
    if any(declared.told(condition) != theirs.told(condition) for condition in conditions):
        return False
    if declared.by is not None:
        return set(graph.keys(declared.by)) <= set(owner.keys(declared.by))
    # What has no partitions reads all of them, or the one that it names.
    read = {graph.source_of(dep).declared[dep.asset].by for dep in declared.deps if dep.only is None}
    return all(graph.keys(by) == owner.keys(by) for by in read)


def _note_bounds(graph: "ExperimentGraph", declared: Declared, owner: "ExperimentGraph") -> None:
    """Note checks that go by other bounds here than in the record of what is shared.

    Raises:
        ExperimentFileError: the file sets such a bound, and it would have no effect.
    """
    theirs = {check.name: check.bounds for check in owner.declared[declared.name].checks}
    for check in declared.checks:
        names = dict.fromkeys([*check.bounds, *theirs.get(check.name, ())])
        here, there = (identity({name: whose.setting(name) for name in names}) for whose in (graph, owner))
        for name in here:
            if here[name] != there[name] and name.startswith("checks."):
                raise ExperimentFileError(
                    f"attributes.{name} = {here[name]!r}: {declared.name} is that of {owner.name}, "
                    f"and checked against {there[name]!r} there; set it alike"
                )
        if here != there:
            graph.looked_at_anew.setdefault(declared.name, []).append(check)
