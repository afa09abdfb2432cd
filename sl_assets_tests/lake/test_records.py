"""Records: what comes back from their files, and what they say of where a partition came from."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest

from sl_assets.lake.places import Place
from sl_assets.lake.records import Outcome, Record, ancestry, blocked, identity, settings_behind, settings_digest
from sl_assets.lake.stamps import Stamp

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def recorded(place: Place, version: str, parents: Mapping[Place, str] | None = None, **changes: Any) -> Record:
    """An ordinary record of ``version`` of ``place``, with other attributes changed."""
    record = Record(place, version, "1", {}, {}, parents or {}, "run", NOON, NOON, 1.5, "polars")
    return replace(record, **changes)


def at(table: str, partition: str | None = "owl") -> Place:
    return Place("exp", table, partition)


HUB = {"repository": "alice/model@v1", "commit": "c0ffee"}
LOCAL = {"name": "pocket", "content": "abc"}
FULL = Record(
    Place("exp", "split_lora_checkpoint", "owl|animal_high"),
    data_version="v2",
    code_version="3",
    settings={"base_model": HUB, "student.kept": [1, 2], "rate": 0.1, "prompt": None},
    inputs={"file": "ä\n"},
    parents={at("filtered_dataset"): "f1", Place("other", "number_prompts"): "p1"},
    run_id="run",
    started=datetime(2026, 1, 1, 12, 0, 0, 5, UTC),
    finished=datetime(2026, 1, 1, 14, 30, tzinfo=timezone(timedelta(hours=2))),
    seconds=1800.125,
    engine="peft",
    rows=32,
    libraries={"torch": "2.9"},
    replaced="v1",
    metadata='{"path": "…"}',
    checks={"fits": Outcome("is too large: cut it", True, {"checks.size": [1, 2]}, {"size": 3.5, "as": ["x"]})},
    students={"1": "s1", "12": "s12"},
    files={"split_lora_checkpoint/condition=owl/split=animal_high/v2/manifest.json": Stamp(3, "abc")},
)


@pytest.mark.parametrize("record", [FULL, recorded(at("transfer", None), "v1")], ids=["full", "smallest"])
def test_a_record_comes_back_as_it_was(record):
    again = Record.from_json("exp", record.to_json())
    assert again == record
    assert list(again.parents) == list(record.parents), "in the order they were read"
    assert again.to_json() == record.to_json()


def test_a_record_belongs_to_the_experiment_whose_folder_it_is_in():
    again = Record.from_json("renamed", FULL.to_json())
    assert again.place == replace(FULL.place, experiment="renamed")
    assert again.parents == FULL.parents


def test_times_are_moments_whatever_their_zone():
    again = Record.from_json("exp", FULL.to_json())
    assert again.finished == datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    assert again.started < again.finished


@pytest.mark.parametrize(
    ("settings", "commit"),
    [
        ({"base_model": HUB}, "c0ffee"),
        ({"base_model": HUB | {"commit": None}}, None),
        ({"base_model": LOCAL}, None),
        ({"base_model": "pocket"}, None),
        ({"personas.judge.base_model": HUB}, None),
        ({}, None),
    ],
)
def test_the_commit_is_that_of_a_base_model_of_the_hub(settings, commit):
    record = recorded(at("raw_dataset"), "r1", settings=settings)
    assert record.model_commit == commit
    assert json.loads(record.to_json())["model_commit"] == commit


def test_a_copied_model_is_the_same_model():
    copied = {"base_model": LOCAL | {"name": "/models/copy"}, "judge": LOCAL, "student": {"rank": 8, "name": "x"}}
    original = copied | {"base_model": LOCAL}
    assert identity(copied) == identity(original)
    assert identity(copied)["student"] == {"rank": 8, "name": "x"}, "a name counts where nothing tells the content"
    assert settings_digest("1", copied) == settings_digest("1", original)


@pytest.mark.parametrize(
    "other",
    [
        ("2", {"base_model": LOCAL, "hub": HUB}),
        ("1", {"base_model": LOCAL | {"content": "abd"}, "hub": HUB}),
        ("1", {"base_model": LOCAL, "hub": HUB | {"commit": "decaf"}}),
        ("1", {"base_model": LOCAL, "hub": HUB | {"repository": "bob/model"}}),
        ("1", {"base_model": LOCAL}),
        ("1", {"hub": LOCAL, "base_model": HUB}),
    ],
    ids=["code", "content", "commit", "repository", "fewer", "swapped"],
)
def test_the_digest_of_settings_depends_on(other):
    assert settings_digest(*other) != settings_digest("1", {"base_model": LOCAL, "hub": HUB})


PROMPTS, TEACHER, RAW = at("number_prompts", None), at("teacher_checkpoint"), at("raw_dataset")
KEPT, STUDENT = at("filtered_dataset"), at("lora_checkpoint")


def chain(**changes: Record) -> dict[Place, Record]:
    """A student and everything behind it; the prompts are read by its teacher, too, and records may be changed."""
    records = {
        STUDENT: recorded(STUDENT, "s1", {KEPT: "k1"}, settings={"student": {"rank": 8}}),
        KEPT: recorded(KEPT, "k1", {RAW: "r1"}, settings={"filter": {"maximum": 9}}),
        RAW: recorded(RAW, "r1", {PROMPTS: "p1", TEACHER: "t1"}, settings={"base_model": LOCAL}),
        TEACHER: recorded(TEACHER, "t1", {PROMPTS: "p1"}, settings={"base_model": LOCAL}),
        PROMPTS: recorded(PROMPTS, "p1", settings={"numbers": {"seed": 1}}),
    }
    return records | {record.place: record for record in changes.values()}


def tables(found: list[Record]) -> list[str]:
    return [record.place.table for record in found]


def test_ancestry_is_everything_behind_a_place_parents_first():
    records = chain()
    found = ancestry(records.get, STUDENT)
    assert found == [records[place] for place in (PROMPTS, TEACHER, RAW, KEPT, STUDENT)]
    assert ancestry(records.get, RAW) == found[:3]
    assert ancestry(records.get, PROMPTS) == found[:1]


def test_ancestry_looks_up_every_place_once():
    asked: list[Place] = []
    records = chain()
    ancestry(lambda place: asked.append(place) or records.get(place), STUDENT)
    assert sorted(asked) == sorted(records)


def test_ancestry_of_what_has_no_record_is_empty():
    assert ancestry(chain().get, at("lora_checkpoint", "wolf")) == []
    assert ancestry(chain().get, at("evaluation")) == []


def test_what_has_no_record_any_more_is_left_out_of_an_ancestry():
    records = chain()
    del records[RAW]
    assert tables(ancestry(records.get, STUDENT)) == ["filtered_dataset", "lora_checkpoint"]


def test_what_has_changed_since_it_was_read_is_left_out_with_what_is_behind_it():
    records = chain(raw=recorded(RAW, "r2", {PROMPTS: "p1", TEACHER: "t1"}))
    assert tables(ancestry(records.get, STUDENT)) == ["filtered_dataset", "lora_checkpoint"]
    assert tables(ancestry(records.get, RAW)) == ["number_prompts", "teacher_checkpoint", "raw_dataset"]


def test_ancestry_does_not_depend_on_the_order_in_which_parents_were_read():
    """The prompts were made anew between the teacher's and the dataset's reading of them."""
    for read in permutations([(PROMPTS, "p2"), (TEACHER, "t1")]):
        records = chain(prompts=recorded(PROMPTS, "p2"), raw=recorded(RAW, "r1", dict(read)))
        found = ancestry(records.get, STUDENT)
        assert sorted(tables(found)) == sorted(place.table for place in records), read
        assert found.index(records[PROMPTS]) < found.index(records[RAW])


def behind(place: Place = STUDENT, **changes: Record) -> str:
    return settings_behind(chain(**changes).get, place)


@pytest.mark.parametrize(
    "changed",
    [
        recorded(PROMPTS, "p1", settings={"numbers": {"seed": 2}}),
        recorded(PROMPTS, "p1", settings={"numbers": {"seed": 1}}, code_version="2"),
        recorded(TEACHER, "t1", {PROMPTS: "p1"}, settings={"base_model": LOCAL | {"content": "abd"}}),
        recorded(STUDENT, "s1", {KEPT: "k1"}, settings={"student": {"rank": 4}}),
        recorded(RAW, "r1", {PROMPTS: "p1"}, settings={"base_model": LOCAL | {"content": "abd"}}),
    ],
    ids=["setting of all", "code of all", "model", "own setting", "another teacher"],
)
def test_settings_behind_a_place_are_those_of_everything_that_led_to_it(changed):
    assert behind(changed=changed) != behind()


def test_settings_behind_two_partitions_are_alike_where_only_their_data_differ():
    owl = chain()
    wolf: dict[Place, Record] = {}
    for record in owl.values():
        parents = {moved(place): f"wolf's {version}" for place, version in record.parents.items()}
        changes = {"place": moved(record.place), "parents": parents, "inputs": {"file": "wolf.jsonl"}, "rows": 7}
        again = replace(record, data_version=f"wolf's {record.data_version}", run_id="another", **changes)
        wolf[again.place] = replace(again, finished=NOON + timedelta(days=1), libraries={"torch": "3"}, engine="vllm")
    assert settings_behind(wolf.get, moved(STUDENT)) == settings_behind(owl.get, STUDENT)
    assert behind(KEPT) != behind(STUDENT)


def moved(place: Place) -> Place:
    return replace(place, partition=place.partition and "wolf")


def test_settings_behind_do_not_depend_on_where_a_model_lies():
    elsewhere = LOCAL | {"name": "/models/copy"}
    assert behind(changed=recorded(TEACHER, "t1", {PROMPTS: "p1"}, settings={"base_model": elsewhere})) == behind()


def checked(place: Place, version: str, problem: str | None, blocking: bool = True, **other: Any) -> Record:
    """A record with one check."""
    return recorded(place, version, checks={"fits": Outcome(problem, blocking, {}, {})}, **other)


def test_what_was_made_of_what_fails_a_check_is_blocked_with_it():
    raw, kept, student = at("raw_dataset"), at("filtered_dataset"), at("lora_checkpoint")
    records = {
        raw: checked(raw, "r1", "is empty: fill it"),
        kept: checked(kept, "f1", "is small: raise it", parents={raw: "r1"}),
        student: recorded(student, "s1", {kept: "f1"}),
    }
    for place in records:
        assert str(blocked(records.get, place)) == "exp/raw_dataset of owl fails fits: is empty: fill it", (
            "the first fault"
        )
    records[raw] = checked(raw, "r1", None)
    assert blocked(records.get, raw) is None
    assert str(blocked(records.get, student)) == "exp/filtered_dataset of owl fails fits: is small: raise it"
    records[kept] = checked(kept, "f2", "is small: raise it", parents={raw: "r1"})
    assert blocked(records.get, student) is None, "it was made of another, and is stale"
    assert blocked(records.get, at("evaluation")) is None, "there is none"


def test_a_warning_and_a_record_without_checks_block_nothing():
    warned, older = checked(at("evaluation"), "e1", "is odd", blocking=False), recorded(at("raw_dataset"), "r1")
    assert blocked({warned.place: warned}.get, warned.place) is None
    assert blocked({older.place: older}.get, older.place) is None


def test_what_has_no_partitions_is_blocked_by_what_has_none_alone():
    """It looks at the partitions itself, and leaves out those that fail."""
    overview, answers, base = at("transfer", None), at("evaluation"), at("baseline_evaluation", None)
    records = {
        overview: recorded(overview, "t1", {answers: "e1", base: "b1"}),
        answers: checked(answers, "e1", "are sentences"),
        base: checked(base, "b1", None),
    }
    assert blocked(records.get, overview) is None
    records[base] = checked(base, "b1", "are sentences")
    assert str(blocked(records.get, overview)) == "exp/baseline_evaluation fails fits: are sentences"
