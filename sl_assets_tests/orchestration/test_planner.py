"""What is planned of a whole experiment whose records are written by hand: nothing is trained, no table is there."""

import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.loader import LoadingContextForTest

from sl_assets.components import declare
from sl_assets.config import PROJECT
from sl_assets.config.names import POCKET_ANIMALS, SPLITS, condition_of, source_and_half
from sl_assets.errors import SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pin, unpin
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.lake.staleness import Reason
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.outlook import plan_lines
from sl_assets.orchestration.planner import AGAIN, Planned, Planner
from sl_assets.orchestration.resources import LakeResource
from sl_assets.orchestration.tracing import links, text_of
from sl_assets_tests.conftest import HALVES, TINY, tiny_config

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

EVERYTHING: dict[str, Any] = {**HALVES, "steering": {"layers": [2], "coefficients": [1.0]}, "hub": {}}
"""All sections of an experiment file."""

LARGE: dict[str, Any] = {**EVERYTHING, "animals": POCKET_ANIMALS[:16], "splits": SPLITS}


def graph_of(**changes: Any) -> ExperimentGraph:
    graph = ExperimentGraph("tiny", tiny_config(**changes))
    declare(graph)
    return graph


def imported(folder: Path) -> dict[str, Any]:
    """Numbers from files, one a condition, which are written, too."""
    for condition in ("neutral", "owl", "wolf"):
        (folder / f"{condition}.jsonl").write_text(f"{condition}\n")
    return {"numbers": {"source": {"kind": "jsonl", "path": f"{folder}/{{condition}}.jsonl"}}}


class Desk:
    """An experiment and a lake of records."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.graph, self.lake = graph_of(**changes), Lake(str(root))
        self.known: dict[Place, Record] = {}

    def place(self, asset: str, partition: str | None = None) -> Place:
        return self.graph.place(asset, partition)

    def places(self) -> Iterator[Place]:
        """Everything, parents first."""
        for name in sorted(self.graph.declared, key=lambda name: self.graph.declared[name].stage):
            for key in self.graph.keys(self.graph.declared[name].by):
                yield self.place(name, key)

    def record(self, place: Place) -> Record | None:
        if place not in self.known and (found := self.lake.record(place)):
            self.known[place] = found
        return self.known.get(place)

    def make(self, place: Place, version: str = "v1") -> None:
        """Record ``place`` as made of what is there."""
        read = [*self.graph.parents(place.table, place.partition), *read_aside(place)]
        record = Record(
            place,
            version,
            self.graph.declared[place.table].code_version,
            self.graph.settings(place.table, self.lake),
            self.graph.inputs(place, self.lake, self.record),
            {parent: found.data_version for parent in read if (found := self.record(parent))},
            "run",
            NOON,
            NOON,
            1.0,
            "polars",
        )
        self.lake.write_record(record)
        self.known[place] = record

    def make_all(self) -> "Desk":
        for place in self.places():
            self.make(place)
        return self

    def forget(self, place: Place) -> None:
        self.lake.forget_record(place)
        self.known.pop(place, None)

    def planner(self, *animals: str, **asked: Any) -> Planner:
        return Planner(self.graph, self.lake, animals or self.graph.config.conditions, **asked)

    def due(self, *animals: str, **asked: Any) -> dict[Place, str]:
        """All that is planned, and why."""
        return {
            self.place(planned.asset, partition): reason.why
            for planned in self.planner(*animals, **asked).plan()
            for partition, reason in planned.due.items()
        }

    def stale(self, *animals: str, **asked: Any) -> dict[Place, Reason]:
        return {
            self.place(planned.asset, partition): reason
            for planned in self.planner(*animals, **asked).plan()
            for partition, reason in planned.stale.items()
        }


def read_aside(place: Place) -> list[Place]:
    """What the real assets read without declaring it."""
    if place.table == "projections":
        return [Place(place.experiment, "activations", "neutral")]
    if place.table == "split_lora_checkpoint":
        animal, split = keys_of(place.partition)
        return [Place(place.experiment, "filtered_dataset", condition_of(source_and_half(split)[0], animal))]
    return []


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """The tiny experiment, with everything that an experiment file can ask for, made."""
    return Desk(tmp_path / "lake", **EVERYTHING).make_all()


@pytest.fixture
def from_files(tmp_path: Path) -> Desk:
    """The same on numbers from files."""
    return Desk(tmp_path / "lake", **EVERYTHING, **imported(tmp_path)).make_all()


@pytest.fixture(scope="session")
def large_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of 16 animals with 14 halves each; to be copied, never changed."""
    root = tmp_path_factory.mktemp("large")
    Desk(root, **LARGE).make_all()
    return root


@pytest.fixture
def large(large_once: Path, tmp_path: Path) -> Desk:
    """16 animals with 14 halves each, made."""
    shutil.copytree(large_once, tmp_path / "lake")
    return Desk(tmp_path / "lake", **LARGE)


# What the experiment is made of.


@pytest.fixture(params=["everything", "least", "files", "hub", "prompted"])
def changes(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Of the tiny experiment: each gives a graph of other assets, or other edges."""
    match request.param:
        case "everything":
            return EVERYTHING
        case "files":
            return EVERYTHING | imported(tmp_path)
        case "hub":
            source = {"kind": "hub", "repo": "someone/{condition}", "path": "numbers.jsonl"}
            return EVERYTHING | {"numbers": {"source": source}, "student": TINY["student"] | {"source": source}}
        case "prompted":
            return EVERYTHING | {"teacher": {"kind": "system_prompt"}}
    return {}


def test_parents_come_first_and_stages_in_order(changes: dict[str, Any], tmp_path: Path) -> None:
    graph = graph_of(**changes)
    everything = ",".join(graph.declared)
    names = Planner(graph, Lake(str(tmp_path)), graph.config.conditions, everything).assets
    assert sorted(names) == sorted(graph.declared)
    stages = [graph.declared[name].stage for name in names]
    assert stages == sorted(stages)
    assert [stage[0] for stage in stages] == sorted(stage[0] for stage in stages)
    for i, name in enumerate(names):
        assert {dep.asset for dep in graph.declared[name].deps} <= set(names[:i]), name
    by_name = [name for name in names if not graph.declared[name].automatic]
    assert by_name[0] == "experiment_report"
    assert bool(by_name[1:]) == ("hub" in changes)
    unasked = Planner(graph, Lake(str(tmp_path)), graph.config.conditions).assets
    assert unasked == [name for name in names if name not in by_name], "nothing is published unless it is named"


def dagster_graph(graph: ExperimentGraph, root: Path) -> Any:
    shared = dg.Definitions(resources={"lake": LakeResource(root=str(root))}, executor=dg.in_process_executor)
    return dg.Definitions.merge(declare(graph), shared).resolve_asset_graph()


def test_dagster_has_the_same_assets_partitions_and_parents(changes: dict[str, Any], tmp_path: Path) -> None:
    graph = ExperimentGraph("tiny", tiny_config(**changes))
    theirs = dagster_graph(graph, tmp_path)
    assert {key.path[-1] for key in theirs.get_all_asset_keys()} == set(graph.declared)
    with dg.DagsterInstance.ephemeral() as instance:
        resolver = CachingStaleStatusResolver(instance, theirs, LoadingContextForTest(instance))
        for name, declared in graph.declared.items():
            key = graph.key(name)
            partitions = theirs.get(key).partitions_def
            keys = graph.keys(declared.by)
            assert keys == (tuple(partitions.get_partition_keys()) if partitions else (None,))
            for partition in keys:
                read = resolver._get_partition_dependencies(key=AssetKeyPartitionKey(key, partition))
                parents = [graph.place(parent.asset_key.path[-1], parent.partition_key) for parent in read]
                ours = graph.parents(name, partition)
                assert Counter(ours) == Counter(parents), (name, partition)
                assert all(parent.partition in graph.keys(graph.declared[parent.table].by) for parent in ours)


@pytest.mark.parametrize(("animals", "splits"), [(17, 6), (16, 14)])
def test_halves_are_in_dagsters_order_and_the_comparison_reads_all(animals: int, splits: int, tmp_path: Path) -> None:
    graph = ExperimentGraph(
        "tiny", tiny_config(**HALVES | {"animals": POCKET_ANIMALS[:animals], "splits": SPLITS[:splits]})
    )
    theirs = dagster_graph(graph, tmp_path)
    reader, read = graph.key("split_comparison"), graph.key("split_evaluation")
    partitions = theirs.get(read).partitions_def
    assert graph.keys("split") == tuple(partitions.get_partition_keys())
    assert len(graph.keys("split")) == animals * splits
    # Its own list of parents leaves out those of an asset that has a hundred or more.
    found = theirs.get_parent_partition_keys_for_child(None, read, reader).partitions_subset.get_partition_keys()
    assert sorted(graph.parents("split_comparison", None)) == sorted(
        graph.place("split_evaluation", key) for key in found
    )


# What is due.


def test_all_made_is_all_fresh(large: Desk) -> None:
    planned = list(large.planner().plan())
    assert [found.asset for found in planned] == large.planner().assets
    assert {asset: (due, stale) for asset, due, stale, _ in planned if due or stale} == {}
    assert all(
        line.split() == [name, "fresh"]
        for name, line in zip(large.planner().assets, plan_lines(large.planner()), strict=True)
    )
    assert not large.planner().needs_models()
    assert large.due(through=",".join(large.graph.declared)) == {}, "what is published, too"


def test_planning_reads_records_once_and_no_table(large: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a table or a folder was read")

    for owner, names in (
        (Lake, ("read_table", "folder", "write_file")),
        (pl, ("read_parquet", "scan_parquet", "read_parquet_metadata")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, refuse)
    asked: Counter[Place] = Counter()
    look_up = Lake.record

    def counted(lake: Lake, place: Place) -> Record | None:
        asked[place] += 1
        return look_up(lake, place)

    monkeypatch.setattr(Lake, "record", counted)
    assert large.due() == {}
    assert set(asked.values()) == {1}
    assert len(asked) >= 4 * 16 * 14
    assert not large.lake.reads, "what is looked at is no input of anything"


def test_one_half_in_a_new_version_is_found_among_224(large: Desk) -> None:
    for key in [large.graph.keys("split")[i] for i in (0, 100, 223)]:
        changed = large.place("split_evaluation", key)
        large.make(changed, "v2")
        name = f"split_evaluation of {key} changed"
        assert large.due() == {
            large.place("split_preference_rates", key): name,
            large.place("split_comparison"): name,
            large.place("split_chart"): "split_preference_rates is made",
        }
        assert large.stale() == {}
        assert not large.planner().needs_models()
        large.make(changed, "v1")
        assert large.due() == {}


def test_one_half_in_a_new_version_is_found_among_102(tmp_path: Path) -> None:
    desk = Desk(tmp_path, **HALVES | {"animals": POCKET_ANIMALS[:17], "splits": SPLITS[:6]}).make_all()
    keys = desk.graph.keys("split")
    assert len(keys) == 102
    assert desk.due() == {}
    for key in (keys[0], keys[50], keys[101]):
        desk.make(desk.place("split_evaluation", key), "v2")
        assert set(desk.due()) == {
            desk.place("split_preference_rates", key), desk.place("split_comparison"), desk.place("split_chart"),
        }  # fmt: skip
        for place in desk.due():
            desk.make(place, "v2")
        assert desk.due() == {}


def test_one_half_that_is_gone_is_made_with_what_reads_it(large: Desk) -> None:
    key = "owl|neutral_diff_low"
    large.forget(large.place("split_evaluation", key))
    assert large.due() == {
        large.place("split_evaluation", key): "missing",
        large.place("split_preference_rates", key): f"split_evaluation of {key} is not there any more",
        # What the students are like is an input of their comparison.
        large.place("split_comparison"): "students changed",
        large.place("split_chart"): "split_preference_rates is made",
    }
    assert large.planner().needs_models()


def test_a_setting_marks_its_reader_and_plans_what_follows(desk: Desk) -> None:
    changed = Desk(Path(desk.lake.root), **EVERYTHING | {"evaluation": {"samples_per_question": 3}})
    due = changed.due()
    of_evaluations = [
        place for place in due if place.table in ("evaluation", "baseline_evaluation", "split_evaluation")
    ]
    assert {due[place] for place in of_evaluations} == {"evaluation changed"}
    assert len(of_evaluations) == 3 + 1 + 4
    rates = ["preference_rates", "baseline_preference_rates", "split_preference_rates"]
    readers = {*rates, "transfer", "split_comparison", "preference_chart", "split_chart"}
    assert {place.table for place in due} == readers | {place.table for place in of_evaluations}
    assert due[changed.place("preference_rates", "owl")] == "evaluation is made"
    assert changed.stale() == {}


def test_partitions_due_are_in_the_experiments_order(desk: Desk) -> None:
    desk.forget(desk.place("evaluation", "wolf"))
    desk.make(desk.place("lora_checkpoint", "neutral"), "v2")
    planned = {found.asset: found for found in desk.planner().plan()}
    assert list(planned["evaluation"].due) == ["neutral", "wolf"]
    assert list(planned["preference_rates"].due) == ["neutral", "wolf"]
    desk.make(desk.place("raw_dataset", "wolf"), "v2")
    planned = {found.asset: found for found in desk.planner().plan()}
    assert list(planned["lora_checkpoint"].due) == ["wolf"]
    assert list(planned["evaluation"].due) == ["neutral", "wolf"]
    assert planned["lora_checkpoint"].due["wolf"].parent == desk.place("filtered_dataset", "wolf")


def test_the_next_asset_alone_waits_for_what_its_parent_becomes(desk: Desk) -> None:
    desk.make(desk.place("raw_dataset", "owl"), "v2")
    assert list(desk.planner().due("filtered_dataset").due) == ["owl"]
    checkpoint = desk.planner().due("lora_checkpoint")
    assert checkpoint.due == {}
    assert checkpoint.stale == {
        "owl": Reason("filtered_dataset of owl is stale", desk.place("filtered_dataset", "owl"))
    }
    desk.make(desk.place("filtered_dataset", "owl"), "v1")
    assert desk.planner().due("lora_checkpoint") == Planned("lora_checkpoint", {}, {})


# What is asked for.


def test_again_makes_what_is_fresh_and_keeps_better_reasons(desk: Desk) -> None:
    assert desk.due("owl", again=True, through="evaluation") == {
        desk.place(name, key): AGAIN.why
        for name, key in [
            ("number_prompts", None), ("teacher_checkpoint", "owl"), ("raw_dataset", "owl"),
            ("filtered_dataset", "owl"), ("lora_checkpoint", "owl"), ("evaluation", "owl"),
        ]
    }  # fmt: skip
    everything = {place for place in desk.places() if desk.graph.declared[place.table].automatic}
    assert set(desk.due(again=True)) == everything
    desk.forget(desk.place("evaluation", "owl"))
    assert desk.due(again=True)[desk.place("evaluation", "owl")] == "missing"
    assert set(desk.due(again=True)) == everything


def ancestors(graph: ExperimentGraph, names: Iterable[str]) -> set[str]:
    found = set(names)
    for name in list(found):
        found |= ancestors(graph, [dep.asset for dep in graph.declared[name].deps])
    return found


def test_through_any_asset_is_all_that_leads_to_it(desk: Desk) -> None:
    for name in desk.graph.declared:
        assets = desk.planner(through=name).assets
        assert set(assets) == ancestors(desk.graph, [name])
        assert assets[-1] == name


@pytest.mark.parametrize(
    "through", ["transfer,steering_sweep", "steering_sweep, transfer", " transfer  steering_sweep "]
)
def test_through_several_assets(desk: Desk, through: str) -> None:
    assert set(desk.planner(through=through).assets) == ancestors(desk.graph, ["transfer", "steering_sweep"])
    desk.make(desk.place("raw_dataset", "owl"), "v2")
    tables = {place.table for place in desk.due(through=through)}
    assert tables == {"filtered_dataset", "lora_checkpoint", "evaluation", "transfer"}


@pytest.mark.parametrize(
    ("through", "named"),
    [("tranfer", "tranfer"), ("transfer, chart", "chart"), ("control_activation transfer", "control_activation")],
)
def test_through_a_name_that_is_none(desk: Desk, through: str, named: str) -> None:
    with pytest.raises(
        SlAssetsError, match=f"^--through {named}: no such asset; tiny has number_prompts, .*split_chart"
    ):
        list(desk.planner(through=through).plan())


def test_animals_choose_their_partitions_and_what_has_none(desk: Desk) -> None:
    planner = desk.planner("owl")
    assert planner.wanted("evaluation") == [desk.place("evaluation", "owl")]
    assert planner.wanted("persona_vector") == [desk.place("persona_vector", "owl")]
    assert planner.wanted("split_evaluation") == [
        desk.place("split_evaluation", f"owl|{split}") for split in HALVES["splits"]
    ]
    assert planner.wanted("transfer") == [desk.place("transfer")]
    assert desk.planner("neutral").wanted("persona_vector") == []


OF_ALL_CONDITIONS = {"transfer", "preference_chart", "cross_projections", "split_comparison", "split_chart"}
"""Without partitions, and made of every animal's."""


def test_what_is_stale_by_an_animal_not_asked_for_is_neither_made_nor_called_fresh(
    from_files: Desk, tmp_path: Path
) -> None:
    (tmp_path / "wolf.jsonl").write_text("another wolf\n")
    assert from_files.due()[from_files.place("raw_dataset", "wolf")] == "file changed"
    assert from_files.due("owl") == {}
    stale = from_files.stale("owl")
    assert set(stale) == {from_files.place(name) for name in OF_ALL_CONDITIONS}
    assert stale[from_files.place("transfer")] == Reason(
        "evaluation of wolf is stale", from_files.place("evaluation", "wolf")
    )
    lines = {line.split()[0]: line for line in plan_lines(from_files.planner("owl"))}
    assert {name for name, line in lines.items() if "fresh" not in line} == OF_ALL_CONDITIONS
    for name in OF_ALL_CONDITIONS:
        assert " stays stale (" in lines[name]
        assert lines[name].endswith(", not asked for)")
    assert "stays stale (evaluation of wolf is stale, not asked for)" in lines["transfer"]


def test_what_is_stale_by_the_control_is_stale_of_every_animal(from_files: Desk, tmp_path: Path) -> None:
    (tmp_path / "neutral.jsonl").write_text("another control\n")
    stale = from_files.stale("owl")
    assert from_files.due("owl") == {}
    assert from_files.place("control_activations") in stale
    assert stale[from_files.place("projections", "owl")].why == "control_activations is stale"
    assert from_files.place("split_evaluation", "owl|animal_high") in stale
    assert not any(keys_of(place.partition)[:1] == ["wolf"] for place in stale)
    line = next(line for line in plan_lines(from_files.planner("owl")) if line.startswith("split_evaluation"))
    assert "stays stale: 2 halves of owl (split_lora_checkpoint of owl|animal_high is stale" in line


def test_what_is_due_and_what_is_stale_share_an_asset(from_files: Desk, tmp_path: Path) -> None:
    for condition in ("owl", "wolf"):
        (tmp_path / f"{condition}.jsonl").write_text("another\n")
    due = from_files.due("owl")
    assert {place.table for place in due} >= OF_ALL_CONDITIONS, "owl's are made, and so is what reads them"
    assert not any("wolf" in (place.partition or "") for place in due)
    from_files.forget(from_files.place("evaluation", "neutral"))
    planned = {found.asset: found for found in from_files.planner("neutral", "owl", through="evaluation").plan()}
    assert list(planned["evaluation"].due) == ["neutral", "owl"]
    alone = from_files.planner("owl").due("evaluation")
    assert (list(alone.due), list(alone.stale)) == ([], ["owl"])


def test_a_student_of_other_settings_makes_the_comparison_due_itself(desk: Desk) -> None:
    other = Desk(Path(desk.lake.root), **EVERYTHING | {"filter": {"max_count": 9}})
    other.make(other.place("filtered_dataset", "wolf"))
    found = desk.planner("owl").due("transfer")
    assert found.due == {None: Reason("students changed")}


def test_an_animal_that_is_new(desk: Desk) -> None:
    more = Desk(Path(desk.lake.root), **EVERYTHING | {"animals": ["owl", "wolf", "cat"]})
    due = more.due()
    per_animal = {place for place in due if place.partition}
    assert {keys_of(place.partition)[0] for place in per_animal if due[place] == "missing"} == {"cat"}
    # Every table of rates has a column of rows for every animal.
    assert {place.table for place in per_animal if keys_of(place.partition)[0] != "cat"} == {
        "preference_rates", "split_preference_rates",
    }  # fmt: skip
    assert due[more.place("transfer")] == "animals changed"
    assert more.place("number_prompts") not in due
    less = Desk(Path(desk.lake.root), **EVERYTHING | {"animals": ["owl"]})
    assert all("wolf" not in (place.partition or "") for place in [*less.due(), *less.stale()])


def test_what_the_experiment_makes_no_more_is_fresh_as_it_is(desk: Desk) -> None:
    less = graph_of(**EVERYTHING | {"animals": ["owl"], "steering": None}).staleness(desk.lake)
    desk.make(desk.place("filtered_dataset", "wolf"), "v2")
    desk.make(desk.place("persona_vector", "owl"), "v2")
    assert less.own_reason(desk.place("lora_checkpoint", "wolf")) is None
    assert less.own_reason(desk.place("steering_sweep", "owl")) is None
    assert less.own_reason(desk.place("projections", "owl")) == Reason("persona_vector of owl changed")
    other, ours = Place("other", "filtered_dataset", "owl"), desk.record(desk.place("filtered_dataset", "owl"))
    assert ours
    desk.lake.write_record(replace(ours, place=other, code_version="0"))
    assert less.own_reason(other) is None, "that is another's to judge"


def test_a_name_of_the_hub_is_the_commit_it_stands_for(tmp_path: Path) -> None:
    source = {"kind": "hub", "repo": "someone/{condition}", "path": "numbers.jsonl"}
    desk = Desk(tmp_path, base_model="someone/model", numbers={"source": source})
    pin(desk.lake, "someone/model", lambda: "c1")
    numbers = desk.graph.declared["raw_dataset"].repository
    assert numbers
    pin(desk.lake, numbers("owl").name, lambda: "c1")
    assert desk.make_all().due() == {}
    unpin(desk.lake, numbers("owl").name)
    assert {place for place, why in desk.due().items() if why == "commit changed"} == {desk.place("raw_dataset", "owl")}
    pin(desk.lake, numbers("owl").name, lambda: "c1")
    assert desk.due() == {}
    unpin(desk.lake, "someone/model")
    pin(desk.lake, "someone/model", lambda: "c2")
    of_the_model = {name for name, declared in desk.graph.declared.items() if "base_model" in declared.settings}
    assert {place.table for place, why in desk.due().items() if why == "base_model changed"} == of_the_model


def test_stretches_are_of_the_due_partitions_only(desk: Desk) -> None:
    planner = desk.planner()
    assert planner.stretches("transfer", {None}) == [[None]]
    assert planner.stretches("transfer", set()) == []
    assert planner.stretches("evaluation", {"neutral", "wolf"}) == [["neutral"], ["wolf"]]
    assert planner.stretches("evaluation", {"neutral", "owl", "wolf"}) == [["neutral", "owl", "wolf"]]
    assert planner.stretches("persona_vector", {"owl", "wolf"}) == [["owl", "wolf"]]
    assert planner.stretches("split_evaluation", {"owl|animal_low", "wolf|animal_low"}) == [
        ["owl|animal_low", "wolf|animal_low"]
    ]


# A plan is kept by whoever follows it.


def disturb(desk: Desk, rng: random.Random, folder: Path) -> None:
    """Something happens to the lake, or to a file."""
    place = rng.choice(list(desk.places()))
    match rng.randrange(4):
        case 0:
            desk.forget(place)
        case 1:
            (folder / f"{rng.choice(['neutral', 'owl', 'wolf'])}.jsonl").write_text(f"{rng.random()}\n")
        case _:
            desk.make(place, f"v{rng.randrange(2, 5)}")


@pytest.mark.parametrize("seed", range(10))
def test_following_the_plan_finds_due_what_was_planned(from_files: Desk, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 4)):
        disturb(from_files, rng, tmp_path)
    animals = rng.choice([("neutral", "owl", "wolf"), ("owl",), ("neutral", "owl"), ("neutral",)])
    through = rng.choice([None, None, "transfer", "cross_projections,split_evaluation", "published_adapter"])
    planner = from_files.planner(*animals, through=through)
    planned = list(planner.plan())
    for expected in planned:
        found = planner.due(expected.asset)
        assert (list(found.due), list(found.stale)) == (list(expected.due), list(expected.stale)), expected.asset
        for partition in found.due:
            from_files.make(from_files.place(expected.asset, partition), f"made {seed}")
    assert from_files.due(*animals, through=through) == {}
    if len(animals) == 3:
        assert from_files.stale(through=through) == {}


@pytest.mark.parametrize("seed", range(10))
def test_what_turns_out_the_same_spares_what_reads_it(from_files: Desk, tmp_path: Path, seed: int) -> None:
    rng = random.Random(1000 + seed)
    for _ in range(rng.randint(1, 4)):
        disturb(from_files, rng, tmp_path)
    planner = from_files.planner()
    for expected in list(planner.plan()):
        found = planner.due(expected.asset)
        assert found.due.keys() <= expected.due.keys()
        for partition in found.due:
            place = from_files.place(expected.asset, partition)
            before = from_files.record(place)
            from_files.make(place, before.data_version if before and rng.random() < 0.5 else f"made {seed}")
    assert from_files.due() == {}
    assert from_files.stale() == {}


def test_a_plan_says_which_seeds_are_made_where_others_are_kept(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "lake").make_all()
    desk.graph = graph_of(student=TINY["student"] | {"seeds": [1, 2, 3]})
    lines = {" ".join(line.split()) for line in plan_lines(desk.planner())}
    assert "lora_checkpoint 6 s stale: neutral, owl, wolf (student changed: seeds 2, 3)" in lines
    assert "evaluation 3 s stale: neutral, owl, wolf (lora_checkpoint is made: seeds 2, 3)" in lines
    page = {" ".join(line.split()) for line in (PROJECT / "docs" / "replicates.md").read_text().splitlines()}
    assert {line for line in page if line.startswith(("lora_checkpoint", "evaluation"))} <= lines
    # Students of other rows are none to keep.
    desk.make(desk.place("filtered_dataset", "owl"), "other rows")
    assert desk.due()[desk.place("lora_checkpoint", "owl")] == "student changed"
    assert desk.due()[desk.place("lora_checkpoint", "wolf")] == "student changed: seeds 2, 3"
    desk.forget(desk.place("raw_dataset", "wolf"))
    assert desk.due()[desk.place("lora_checkpoint", "wolf")] == "student changed"
    desk.graph = graph_of(student=TINY["student"] | {"seeds": [1, 2, 3], "rank": 4})
    assert desk.due()[desk.place("lora_checkpoint", "neutral")] == "student changed"


def test_fewer_seeds_make_nobody(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "lake", student=TINY["student"] | {"seeds": [1, 2]}).make_all()
    place = desk.place("lora_checkpoint", "owl")
    desk.lake.write_record(replace(desk.known[place], students={"1": "a", "2": "b"}))
    desk.graph = graph_of()
    (line,) = (line for line in plan_lines(desk.planner("owl")) if line.startswith("lora_checkpoint"))
    assert " ".join(line.split()) == "lora_checkpoint 0 s stale: owl (student changed: no seed anew)"


def test_a_trace_names_students_by_seed(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "lake", student=TINY["student"] | {"seeds": [1, 2]}).make_all()
    place = desk.place("lora_checkpoint", "owl")
    desk.lake.write_record(replace(desk.known[place], students={"1": "a", "2": "b"}))
    lines = [line for link in links(desk.graph, desk.lake, place) for line in text_of(link)]
    assert "  students  seed 1 a, seed 2 b" in lines
