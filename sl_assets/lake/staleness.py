"""What makes a partition fresh, stale or missing: a comparison of records with what would be made today.

A partition is fresh if it has a record, the record's code version, settings and inputs are today's, every parent there
is today was read in the version it has today, nothing else was read that has changed since, and every parent is fresh,
all the way up. There is no limit to the number of parents, and no table is read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, Records, Settings, identity
from sl_assets.lake.replicates import CHECKPOINTS, made_alike, seeds_of, students_of


class Expected(NamedTuple):
    """What a partition would be made of today.

    Attributes:
        code_version, settings, inputs: as in its `Record`.
        parents: places it would read, if they are there.
    """

    code_version: str
    settings: Settings
    inputs: Mapping[str, Any]
    parents: Sequence[Place]


class Reason(NamedTuple):
    """Why a partition is not fresh.

    Attributes:
        why: in a few words.
        parent: the parent that is not fresh itself, where that is all that is wrong; else None.
        seeds: where nothing but the seeds of its students differs, those that it lacks; the others are kept.
    """

    why: str
    parent: Place | None = None
    seeds: tuple[int, ...] | None = None


MISSING = Reason("missing")


class Staleness:
    """Reasons why partitions are not fresh, each looked up once: a view of one moment.

    Args:
        records: looks up a record.
        expected: what a place would be made of; None for a place that nothing makes any more.
        damage: what can be seen of a recorded partition's files without reading them that is not as it was recorded.
    """

    def __init__(
        self,
        records: Records,
        expected: Callable[[Place], Expected | None],
        damage: Callable[[Record], str | None] = lambda _: None,
    ) -> None:
        self._look_up, self._expected, self._damage = records, expected, damage
        self._records: dict[Place, Record | None] = {}
        self._expectations: dict[Place, Expected | None] = {}
        self._reasons: dict[Place, Reason | None] = {}

    def reason(self, place: Place) -> Reason | None:
        """Why ``place`` is not fresh; None where it is. Its own fault is named before a parent's."""
        if place not in self._reasons:
            # Records of former graphs could lead back here; then what is being looked at has no fault so far.
            self._reasons[place] = None
            self._reasons[place] = self.own_reason(place) or self._inherited(place)
        return self._reasons[place]

    def own_reason(self, place: Place) -> Reason | None:
        """Why ``place`` is not what would be made of its parents as they are now; whether these are fresh is not asked.

        What nothing makes any more is fresh as it is.
        """
        record, expected = self.record(place), self._expects(place)
        if record is None:
            return MISSING
        if expected is None:
            return None
        if damage := self._damage(record):
            return Reason(f"damaged: {damage}")
        if record.code_version != expected.code_version:
            return Reason(f"made by version {record.code_version} of its code, which is {expected.code_version}")
        changed = _differing(identity(record.settings), identity(expected.settings))
        if changed := changed or _differing(record.inputs, expected.inputs):
            seeds = self._lacking(record, expected)
            return Reason(
                f"{', '.join(changed)} changed{'' if seeds is None else f': {seeds_named(seeds)}'}", None, seeds
            )
        return self._parent_differs(record, expected)

    def _parent_differs(self, record: Record, expected: Expected) -> Reason | None:
        parents = dict.fromkeys([*expected.parents, *record.parents])
        differing = ((parent, self._differs(parent, record.parents.get(parent))) for parent in parents)
        return next((Reason(f"{_named(parent)} {why}") for parent, why in differing if why), None)

    def _lacking(self, record: Record, expected: Expected) -> tuple[int, ...] | None:
        """Seeds whose students ``record`` lacks, where it was made of the same but for these; else None."""
        alike = made_alike(record, expected.code_version, expected.settings, expected.inputs)
        if record.place.table not in CHECKPOINTS or not alike or self._parent_differs(record, expected):
            return None
        there = students_of(record)
        return tuple(seed for seed in seeds_of(expected.settings) if seed not in there)

    def record(self, place: Place) -> Record | None:
        """The record of ``place``."""
        if place not in self._records:
            self._records[place] = self._look_up(place)
        return self._records[place]

    def _differs(self, parent: Place, read: str | None) -> str | None:
        current = self.record(parent)
        if current is None:
            return None if read is None else "is not there any more"
        if read is None:
            return "is new"
        return None if current.data_version == read else "changed"

    def _inherited(self, place: Place) -> Reason | None:
        record = self.record(place)
        if record is None or self._expects(place) is None:
            return None
        stale = (parent for parent in record.parents if self.reason(parent) is not None)
        return next((Reason(f"{_named(parent)} is stale", parent) for parent in stale), None)

    def _expects(self, place: Place) -> Expected | None:
        if place not in self._expectations:
            self._expectations[place] = self._expected(place)
        return self._expectations[place]


def seeds_named(seeds: Sequence[int]) -> str:
    """Which students are made, where others are kept: ``seeds 2, 3``."""
    if not seeds:
        return "no seed anew"
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _differing(recorded: Mapping[str, Any], today: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in recorded.keys() | today.keys() if recorded.get(name) != today.get(name))


def _named(place: Place) -> str:
    return place.table + (f" of {place.partition}" if place.partition else "")
