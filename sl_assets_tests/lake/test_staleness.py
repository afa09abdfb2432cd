"""What is fresh: cases worked out by hand, and random lakes against the definition taken word by word."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from sl_assets.config.names import POCKET_ANIMALS, SPLITS
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.lake.staleness import MISSING, Expected, Reason, Staleness

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def recorded(
    place: Place,
    version: str,
    code: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Any],
    read: dict[Place, str],
) -> Record:
    return Record(place, version, code, settings, inputs, read, "run", NOON, NOON, 1.0, "polars")


def at(table: str, partition: str | None = None) -> Place:
    return Place("exp", table, partition)


@dataclass
class Shelf:
    """A lake of few places, each made as is expected of it today, until a test changes one side."""

    records: dict[Place, Record] = field(default_factory=dict)
    expected: dict[Place, Expected] = field(default_factory=dict)

    def put(self, place: Place, *parents: Place, code: str = "1", version: str = "v1", **settings: Any) -> Place:
        """Expect ``place``, and make it of the ``parents`` that are there."""
        self.expected[place] = Expected(code, settings, {}, parents)
        self.make(place, version)
        return place

    def make(self, place: Place, version: str, *also: Place) -> None:
        """Make ``place`` as is expected today; ``also`` is read without being a parent."""
        code, settings, inputs, parents = self.expected[place]
        there = [parent for parent in [*parents, *also] if parent in self.records]
        read = {parent: self.records[parent].data_version for parent in there}
        self.records[place] = recorded(place, version, code, settings, inputs, read)

    def expect(self, place: Place, **changed: Any) -> None:
        self.expected[place] = self.expected[place]._replace(**changed)

    @property
    def now(self) -> Staleness:
        return Staleness(self.records.get, self.expected.get)

    def why(self, place: Place) -> str | None:
        """The words of an own reason; both ways of asking must give it."""
        reason = self.now.own_reason(place)
        assert reason is None or (reason.parent is None and self.now.reason(place) == reason)
        return reason.why if reason else None


RAW, KEPT, STUDENT, CHART = at("raw", "owl"), at("kept", "owl"), at("student", "owl"), at("chart")


@pytest.fixture
def shelf() -> Shelf:
    """``raw`` and ``kept`` and ``student`` of owl, and a ``chart``: each of the one before it."""
    shelf = Shelf()
    shelf.put(RAW, seed=1, model={"name": "pocket", "content": "abc"})
    shelf.put(KEPT, RAW, limit=10)
    shelf.put(STUDENT, KEPT, epochs=2)
    shelf.put(CHART, STUDENT)
    return shelf


def test_what_was_made_as_it_would_be_today_is_fresh(shelf: Shelf) -> None:
    assert all(shelf.now.reason(place) is None for place in shelf.records)
    assert all(shelf.why(place) is None for place in shelf.records)


def test_what_has_no_record_is_missing(shelf: Shelf) -> None:
    del shelf.records[CHART]
    assert shelf.now.reason(CHART) == MISSING == Reason("missing", None)
    assert shelf.why(at("nobody", "knows")) == "missing"


def test_another_version_of_the_code(shelf: Shelf) -> None:
    shelf.expect(KEPT, code_version="2")
    assert shelf.why(KEPT) == "made by version 1 of its code, which is 2"


@pytest.mark.parametrize(
    ("today", "why"),
    [
        ({"limit": 9}, "limit changed"),
        ({"limit": 10, "banned": [666]}, "banned changed"),
        ({}, "limit changed"),
        ({"limit": 9, "banned": [666]}, "banned, limit changed"),
        ({"limit": 10}, None),
        # A field that says nothing is as good as one that is not there.
        ({"limit": 10, "banned": None}, None),
    ],
    ids=["changed", "new", "gone", "two", "same", "none"],
)
def test_settings(shelf: Shelf, today: dict[str, Any], why: str | None) -> None:
    shelf.expect(KEPT, settings=today)
    assert shelf.why(KEPT) == why


@pytest.mark.parametrize(
    ("made_of", "today", "why"),
    [
        ({}, {"file": "f1"}, "file changed"),
        ({"file": "f1"}, {"file": "f2"}, "file changed"),
        ({"file": "f1"}, {}, "file changed"),
        ({"file": "f1"}, {"file": None}, "file changed"),
        ({"file": "f1", "commit": "c1"}, {"file": "f2", "commit": "c2"}, "commit, file changed"),
        ({"students": {"owl": "s1"}}, {"students": {"owl": "s1", "wolf": "s1"}}, "students changed"),
        ({"file": "f1"}, {"file": "f1"}, None),
    ],
)
def test_inputs(shelf: Shelf, made_of: dict[str, Any], today: dict[str, Any], why: str | None) -> None:
    shelf.expect(RAW, inputs=made_of)
    shelf.make(RAW, "v1")
    assert shelf.why(RAW) is None
    shelf.expect(RAW, inputs=today)
    assert shelf.why(RAW) == why


def test_a_copied_model_is_the_same_model(shelf: Shelf) -> None:
    shelf.expect(RAW, settings={"seed": 1, "model": {"name": "/elsewhere/pocket", "content": "abc"}})
    assert shelf.why(RAW) is None
    shelf.expect(RAW, settings={"seed": 1, "model": {"name": "pocket", "content": "def"}})
    assert shelf.why(RAW) == "model changed"


def test_a_name_without_content_beside_it_counts(shelf: Shelf) -> None:
    shelf.expect(RAW, settings={"seed": 1, "model": {"repository": "owner/one"}})
    shelf.make(RAW, "v1")
    shelf.expect(RAW, settings={"seed": 1, "model": {"repository": "owner/two"}})
    assert shelf.why(RAW) == "model changed"


def test_a_parent_that_changed(shelf: Shelf) -> None:
    shelf.make(RAW, "v2")
    assert shelf.why(KEPT) == "raw of owl changed"
    shelf.make(RAW, "v1")
    assert shelf.why(KEPT) is None, "a parent that is what it was changes nothing"


def test_a_parent_without_partitions_is_named_without_one(shelf: Shelf) -> None:
    shelf.put(at("report"), CHART)
    shelf.make(CHART, "v2")
    assert shelf.why(at("report")) == "chart changed"


def test_a_parent_that_is_new(shelf: Shelf) -> None:
    wolf = at("student", "wolf")
    shelf.expect(CHART, parents=[STUDENT, wolf])
    assert shelf.why(CHART) is None, "what is not there was not read"
    shelf.put(wolf)
    assert shelf.why(CHART) == "student of wolf is new"
    shelf.make(CHART, "v2")
    assert shelf.why(CHART) is None


def test_a_parent_that_is_gone(shelf: Shelf) -> None:
    del shelf.records[STUDENT]
    assert shelf.why(CHART) == "student of owl is not there any more"
    shelf.make(CHART, "v2")
    assert shelf.why(CHART) is None


def test_a_parent_that_is_declared_no_more_counts_while_it_was_read(shelf: Shelf) -> None:
    shelf.expect(STUDENT, parents=[])
    assert shelf.why(STUDENT) is None
    shelf.make(KEPT, "v2")
    assert shelf.why(STUDENT) == "kept of owl changed"


def test_what_was_read_without_being_a_parent(shelf: Shelf) -> None:
    shelf.make(CHART, "v1", RAW)
    assert shelf.why(CHART) is None
    shelf.make(RAW, "v2")
    # Not by way of its parents, which have not been made again.
    assert shelf.why(CHART) == "raw of owl changed"
    shelf.make(CHART, "v2", RAW)
    assert shelf.why(CHART) is None
    del shelf.records[RAW]
    assert shelf.why(CHART) == "raw of owl is not there any more"


def test_its_own_fault_is_named_before_that_of_what_it_read(shelf: Shelf) -> None:
    shelf.expect(KEPT, settings={"limit": 9})
    shelf.make(RAW, "v2")
    assert shelf.why(KEPT) == "limit changed"
    shelf.expect(KEPT, inputs={"file": "f1"})
    assert shelf.why(KEPT) == "limit changed"
    shelf.expect(KEPT, code_version="2")
    assert shelf.why(KEPT) == "made by version 1 of its code, which is 2"
    assert shelf.now.reason(STUDENT) == Reason("kept of owl is stale", KEPT)


def test_staleness_comes_down_level_by_level(shelf: Shelf) -> None:
    shelf.put(at("report"), CHART)
    shelf.expect(RAW, settings={"seed": 2})
    now = shelf.now
    assert now.reason(at("report")) == Reason("chart is stale", CHART)
    assert now.reason(CHART) == Reason("student of owl is stale", STUDENT)
    assert now.reason(STUDENT) == Reason("kept of owl is stale", KEPT)
    assert now.reason(KEPT) == Reason("raw of owl is stale", RAW)
    assert now.reason(RAW) == Reason("model, seed changed")
    assert [now.own_reason(place) for place in (KEPT, STUDENT, CHART, at("report"))] == [None] * 4


def test_staleness_that_came_down_ends_where_the_content_turns_out_the_same(shelf: Shelf) -> None:
    shelf.expect(RAW, settings={"seed": 2})
    shelf.make(RAW, "v1")
    assert all(shelf.now.reason(place) is None for place in shelf.records)


def test_staleness_comes_down_by_what_was_read_without_being_a_parent(shelf: Shelf) -> None:
    other = shelf.put(at("other"), limit=1)
    shelf.make(CHART, "v1", other)
    shelf.expect(other, settings={"limit": 2})
    assert shelf.now.own_reason(CHART) is None
    assert shelf.now.reason(CHART) == Reason("other is stale", other)


def test_a_parent_that_never_was_makes_nothing_stale(shelf: Shelf) -> None:
    absent = at("student", "wolf")
    shelf.expected[absent] = Expected("1", {}, {}, [at("kept", "wolf")])
    shelf.expect(CHART, parents=[absent, STUDENT])
    assert shelf.now.reason(absent) == MISSING
    assert shelf.now.reason(CHART) is None


def test_what_nothing_makes_any_more_is_fresh_as_it_is(shelf: Shelf) -> None:
    shelf.make(KEPT, "v2")
    assert shelf.why(STUDENT) == "kept of owl changed"
    del shelf.expected[STUDENT]
    assert shelf.why(STUDENT) is None
    assert shelf.now.reason(STUDENT) is None
    assert shelf.now.reason(CHART) is None


def test_what_nothing_makes_any_more_is_not_stale_for_what_it_was_made_of(shelf: Shelf) -> None:
    del shelf.expected[STUDENT]
    shelf.expect(KEPT, settings={"limit": 9})
    assert shelf.why(KEPT) == "limit changed"
    assert shelf.now.reason(STUDENT) is None
    assert shelf.now.reason(CHART) is None


def test_what_is_gone_and_nothing_makes_any_more_is_missed_by_its_readers(shelf: Shelf) -> None:
    del shelf.expected[STUDENT], shelf.records[STUDENT]
    assert shelf.why(STUDENT) == "missing"
    assert shelf.why(CHART) == "student of owl is not there any more"


def test_every_record_is_looked_up_once_and_the_answers_are_of_one_moment(shelf: Shelf) -> None:
    asked: Counter[Place] = Counter()

    def look_up(place: Place) -> Record | None:
        asked[place] += 1
        return shelf.records.get(place)

    now = Staleness(look_up, shelf.expected.get)
    assert [now.reason(place) for place in (CHART, RAW, KEPT, STUDENT)] == [None] * 4
    shelf.records.clear()
    assert now.reason(CHART) is None
    assert now.record(RAW)
    assert set(asked.values()) == {1}
    assert shelf.now.reason(CHART) == MISSING


# Random lakes: an asset is a name here, its partitions keys, and making it is writing a record.


@dataclass
class Asset:
    """An asset of a random experiment: what its file and code say today."""

    keys: tuple[str, ...] | None
    deps: list[tuple[str, str | None]]
    settings: dict[str, Any]
    code: int = 1


@dataclass
class World:
    """A random experiment and its lake; assets stand in an order in which parents come first."""

    rng: random.Random
    assets: dict[str, Asset] = field(default_factory=dict)
    files: dict[Place, int] = field(default_factory=dict)
    records: dict[Place, Record] = field(default_factory=dict)
    versions: int = 0

    def places(self) -> list[Place]:
        """All that is to be made, parents first."""
        return [at(name, key) for name, asset in self.assets.items() for key in asset.keys or (None,)]

    def expected(self, place: Place) -> Expected | None:
        asset = self.assets[place.table]
        if place.partition not in (asset.keys or (None,)):
            return None
        inputs = {"file": self.files[place]} if place in self.files else {}
        return Expected(str(asset.code), dict(asset.settings), inputs, self.parents(place))

    def parents(self, place: Place) -> list[Place]:
        return [
            at(name, key)
            for name, only in self.assets[place.table].deps
            for key in ([only] if only else self.read_by(place.partition, self.assets[name].keys))
        ]

    @staticmethod
    def read_by(partition: str | None, keys: tuple[str, ...] | None) -> tuple[str | None, ...]:
        if keys is None or partition is None:
            return keys or ((None,) if keys is None else ())
        return (partition,) if partition in keys else ()

    def make(self, place: Place, same: float = 0.3) -> None:
        """Make ``place`` of what is there now; by a chance of ``same`` its content is what it was."""
        expected, before = self.expected(place), self.records.get(place)
        assert expected
        self.versions += 1
        keep = before is not None and self.rng.random() < same
        version = before.data_version if before and keep else f"v{self.versions}"
        read = [parent for parent in [*expected.parents, *self.aside(place)] if parent in self.records]
        versions = {parent: self.records[parent].data_version for parent in read}
        self.records[place] = recorded(
            place, version, expected.code_version, expected.settings, expected.inputs, versions
        )

    def aside(self, place: Place) -> list[Place]:
        """Now and then something is read that no one declared; always of an asset that comes earlier."""
        names = list(self.assets)
        earlier = names[: names.index(place.table)]
        there = sorted(other for other in self.records if other.table in earlier)
        return [self.rng.choice(there)] if there and self.rng.random() < 0.15 else []

    def make_due(self, has_own_reason: Callable[[Place], bool]) -> list[Place]:
        """One pass over everything, parents first; returns what was made."""
        made = []
        for place in self.places():
            if has_own_reason(place):
                self.make(place)
                made.append(place)
        return made

    @property
    def now(self) -> Staleness:
        return Staleness(self.records.get, self.expected)


def drawn_world(rng: random.Random) -> World:
    world = World(rng)
    size = rng.randint(2, 12)
    for name in [f"a{i:02}" for i in range(size)]:
        keys = None if rng.random() < 0.4 else tuple(rng.sample("nowc", rng.randint(1, 3)))
        deps = [
            drawn_dep(world, dep) for dep in rng.sample(sorted(world.assets), min(rng.randint(0, 2), len(world.assets)))
        ]
        model = {"name": "here", "content": rng.randint(1, 2)}
        world.assets[name] = Asset(keys, deps, {"seed": 1} | ({"model": model} if rng.random() < 0.4 else {}))
    world.files = {place: 1 for place in world.places() if rng.random() < 0.2}
    if rng.random() < 0.8:
        world.make_due(lambda _: rng.random() < 0.95)
    return world


def drawn_dep(world: World, name: str) -> tuple[str, str | None]:
    keys = world.assets[name].keys
    return name, world.rng.choice(keys) if keys and world.rng.random() < 0.25 else None


def change_setting(world: World, name: str) -> None:
    """To a value that it may have had before."""
    settings = world.assets[name].settings
    settings[world.rng.choice(["seed", "limit"])] = world.rng.choice([None, 1, 2, 3])


def change_model(world: World, name: str) -> None:
    """Copy the model, or take another."""
    model = dict(world.assets[name].settings.get("model", {"content": 1}))
    model[world.rng.choice(["name", "content"])] = world.rng.randint(1, 3)
    world.assets[name].settings["model"] = model


def change_code(world: World, name: str) -> None:
    world.assets[name].code += world.rng.choice([-1, 1])


def change_file(world: World, name: str) -> None:
    place = at(name, world.rng.choice(world.assets[name].keys or (None,)))
    world.files[place] = world.rng.randint(1, 3)


def change_keys(world: World, name: str) -> None:
    """Add a partition, or take one away; its record stays."""
    asset = world.assets[name]
    if asset.keys is None:
        return
    key = world.rng.choice("nowc")
    without = tuple(other for other in asset.keys if other != key)
    asset.keys = (without if without != asset.keys else (*asset.keys, key)) or asset.keys


def delete_record(world: World, name: str) -> None:
    there = sorted(place for place in world.records if place.table == name)
    if there:
        del world.records[world.rng.choice(there)]


def remake(world: World, name: str) -> None:
    world.make(at(name, world.rng.choice(world.assets[name].keys or (None,))), same=0.5)


def change_deps(world: World, name: str) -> None:
    """Mostly one more; its record need not know."""
    asset, names = world.assets[name], list(world.assets)
    if asset.deps and world.rng.random() < 0.3:
        asset.deps.pop(world.rng.randrange(len(asset.deps)))
    elif earlier := names[: names.index(name)]:
        dep = drawn_dep(world, world.rng.choice(earlier))
        asset.deps += [dep] if dep not in asset.deps else []


def make_some_that_are_due(world: World, _: str) -> None:
    world.make_due(lambda place: own_naively(world, place) and world.rng.random() < 0.8)


CHANGES = [
    change_setting, change_model, change_code, change_file, change_keys, delete_record, remake, remake, change_deps,
    make_some_that_are_due, make_some_that_are_due,
]  # fmt: skip


# The definition, sentence by sentence; nothing is remembered.


def own_naively(world: World, place: Place) -> bool:
    if place not in world.records:
        return True
    if (today := world.expected(place)) is None:
        return False
    record = world.records[place]
    return not (
        record.code_version == today.code_version
        and same_values(record.settings, today.settings)
        and same_values(record.inputs, today.inputs)
        and all(record.parents.get(parent) == version_of(world, parent) for parent in today.parents)
        and all(version == version_of(world, parent) for parent, version in record.parents.items())
    )


def same_values(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """A model counts by its content, and what is None is as good as absent."""

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        by_content = {name: value["content"] if name == "model" else value for name, value in values.items()}
        return {name: value for name, value in by_content.items() if value is not None}

    return plain(one) == plain(other)


def version_of(world: World, place: Place) -> str | None:
    return world.records[place].data_version if place in world.records else None


def stale_naively(world: World, place: Place) -> bool:
    if own_naively(world, place):
        return True
    if (today := world.expected(place)) is None:
        return False
    read = {*today.parents, *world.records[place].parents} & world.records.keys()
    return any(stale_naively(world, parent) for parent in read)


def own_today(world: World, place: Place) -> bool:
    return world.now.own_reason(place) is not None


def kind(reason: Reason | None) -> str:
    return "fresh" if reason is None else "inherited" if reason.parent else "own"


def kind_naively(world: World, place: Place) -> str:
    return "own" if own_naively(world, place) else "inherited" if stale_naively(world, place) else "fresh"


def check(world: World, seen: Counter[str]) -> None:
    """Every place, asked for in any order, is what the definition says."""
    places = sorted({*world.places(), *world.records}, key=str)
    world.rng.shuffle(places)
    now = world.now
    for place in places:
        reason = now.reason(place)
        assert kind(reason) == kind_naively(world, place), (place, reason)
        assert (now.own_reason(place) is not None) == own_naively(world, place), place
        if reason and reason.parent:
            assert reason.parent in {*world.parents(place), *world.records[place].parents}
            assert stale_naively(world, reason.parent)
        seen[kind(reason)] += 1


WORLDS, CHANGES_EACH = 200, 25


@pytest.mark.parametrize("seed", range(0, WORLDS, 40))
def test_random_changes_make_stale_what_the_definition_says(seed: int) -> None:
    seen: Counter[str] = Counter()
    for number in range(seed, seed + 40):
        world = drawn_world(random.Random(number))
        check(world, seen)
        for _ in range(CHANGES_EACH):
            world.rng.choice(CHANGES)(world, world.rng.choice(list(world.assets)))
            check(world, seen)
    # The draws would show nothing if they were all alike.
    assert min(seen["fresh"], seen["own"], seen["inherited"]) > 500, seen


def changed_worlds(seeds: Iterator[int]) -> Iterator[World]:
    for number in seeds:
        world = drawn_world(random.Random(number))
        for _ in range(world.rng.randint(0, 8)):
            world.rng.choice(CHANGES)(world, world.rng.choice(list(world.assets)))
        yield world


def test_one_pass_makes_what_the_definition_says_and_leaves_nothing_stale() -> None:
    made = 0
    for world in changed_worlds(iter(range(10_000, 10_200))):
        twin = deepcopy(world)
        passed = world.make_due(partial(own_today, world))
        assert passed == twin.make_due(partial(own_naively, twin))
        assert [world.now.reason(place) for place in world.places()] == [None] * len(world.places())
        assert world.make_due(partial(own_today, world)) == []
        made += len(passed)
    assert made > 500


@pytest.mark.parametrize(
    ("animals", "halves"), [(POCKET_ANIMALS[:17], SPLITS[:6]), (POCKET_ANIMALS[:16], SPLITS)], ids=["102", "224"]
)
def test_an_aggregate_knows_each_of_its_many_parents(
    shelf: Shelf, animals: tuple[str, ...], halves: tuple[str, ...]
) -> None:
    parents = [shelf.put(at("answers", f"{animal}|{half}")) for animal in animals for half in halves]
    shelf.put(CHART, *parents)
    assert len(shelf.records[CHART].parents) == len(animals) * len(halves)
    assert shelf.now.reason(CHART) is None
    sample = random.Random(0).sample(parents, 20)
    for parent in [parents[0], parents[99], parents[100], parents[-1], *sample]:
        name = f"answers of {parent.partition}"
        shelf.make(parent, "v2")
        assert shelf.why(CHART) == f"{name} changed"
        shelf.make(parent, "v1")
        assert shelf.now.reason(CHART) is None
        shelf.expect(parent, settings={"seed": 2})
        assert shelf.now.reason(CHART) == Reason(f"{name} is stale", parent)
        shelf.expect(parent, settings={})
        record = shelf.records.pop(parent)
        assert shelf.why(CHART) == f"{name} is not there any more"
        shelf.records[parent] = record
    late = shelf.put(at("answers", "unicorn|animal_high"))
    assert shelf.now.reason(CHART) is None, "not expected yet"
    shelf.expect(CHART, parents=[*parents, late])
    assert shelf.why(CHART) == "answers of unicorn|animal_high is new"
