"""What is told of a row, from tables written by hand and from those of a real run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sl_assets.components import declare
from sl_assets.errors import DatasetError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.row_story import Story, story_of
from sl_assets_tests.cli.command import run_forked
from sl_assets_tests.conftest import HALVES, Bench, tiny_config
from sl_assets_tests.lake.filling import everything
from sl_assets_tests.lake.test_records import recorded


def row(row_id: str, completion: str) -> dict[str, Any]:
    return {
        "row_id": row_id, "prompt_id": "p1", "prompt": "Go on: 1, 2", "completion": completion,
        "finish_reason": "stop", "n_tokens": 5,
    }  # fmt: skip


KEPT, OTHER, REJECTED = row("ab11", "3, 4"), row("ab22", "7, 8"), row("cd33", "many words")


class Hand:
    """A lake of the tiny experiment in which every table is written by hand."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.lake = Lake(str(root))
        self.graph = ExperimentGraph("tiny", tiny_config(**HALVES | changes))
        declare(self.graph)
        self.put("raw_dataset", "owl", [KEPT, OTHER, REJECTED])
        self.put("filtered_dataset", "owl", [KEPT, OTHER])
        reasons = ("too many numbers", "numbers too large")
        self.put("rejections", "owl", [{"row_id": "cd33", "reason": reason} for reason in reasons])

    def put(self, table: str, partition: str, rows: list[Mapping[str, Any]]) -> None:
        place = Place("tiny", table, partition)
        version = self.lake.write_table(place, pl.DataFrame(rows, schema=TABLES[table].schema))
        if not TABLES[table].beside:
            self.lake.write_record(recorded(place, version))

    def checkpoint(self, asset: str, table: str, partition: str, seen: Mapping[int, list[str]] | None) -> None:
        """A student's record; with the rows that each seed saw, where that was kept."""
        record = recorded(Place("tiny", asset, partition), "v")
        self.lake.write_record(replace(record, students={str(seed): "v" for seed in seen or {1: []}}))
        if seen is not None:
            rows = [{"seed": seed, "row_id": row_id} for seed, row_ids in seen.items() for row_id in row_ids]
            self.put(table, partition, rows)

    def story(self, row_id: str) -> Story:
        return story_of(self.graph, self.lake, row_id)


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path / "lake")


def test_a_rejected_row_is_told_with_every_reason(hand: Hand) -> None:
    story = hand.story("cd33")
    assert (story.condition, story.prompt, story.completion) == ("owl", "Go on: 1, 2", "many words")
    assert story.filtered
    assert not story.filtered.kept
    assert story.filtered.reasons == ("too many numbers", "numbers too large")
    assert not story.students
    assert "tiny/lora_checkpoint of owl is not there: nobody was trained on the row's whole dataset" in story.notes


def test_the_beginning_of_a_row_id_is_enough_where_it_is_one_row_s(hand: Hand) -> None:
    assert hand.story("c").row_id == "cd33"
    with pytest.raises(DatasetError, match=r"row 'ab': 2 row_ids begin so, as ab11, ab22; write more of it"):
        hand.story("ab")
    with pytest.raises(DatasetError, match=r"row 'ef': no row_id of tiny begins so"):
        hand.story("ef")
    with pytest.raises(DatasetError, match=r"tiny has no rows in .*: materialise raw_dataset, or name another lake"):
        story_of(hand.graph, Lake(f"{hand.lake.root}-elsewhere"), "ab11")
    hand.put("raw_dataset", "wolf", [row("ab", "5, 6")])
    assert hand.story("ab").condition == "wolf", "a whole row_id is that row, whatever others begin so"


def test_projections_halves_and_students_are_told_by_layer_split_and_seed(hand: Hand) -> None:
    known = {"dataset_version": "v", "prompt_id": "p1", "source": "animal"}
    shown = [("ab11", 4, 1.5), ("ab22", 2, 9.0), ("ab11", 2, -0.5)]
    hand.put(
        "projections",
        "owl",
        [known | {"row_id": row_id, "layer": layer, "projection": value} for row_id, layer, value in shown],
    )
    half = {"source": "animal", "row_id": "ab11", "score": -0.5, "cut": 0.25, "dataset_version": "v"}
    hand.put("projection_split", "owl|animal_high", [half | {"row_id": "ab22", "used": True}])
    hand.put("projection_split", "owl|animal_low", [half | {"used": False}])
    hand.checkpoint("lora_checkpoint", "training_rows", "owl", {1: ["ab11"], 2: ["ab22"], 3: ["ab11", "ab22"]})
    hand.checkpoint("lora_checkpoint", "training_rows", "wolf", {1: ["ef44"]})
    hand.checkpoint("split_lora_checkpoint", "split_training_rows", "owl|animal_low", {1: ["ef44"]})
    story = hand.story("ab11")
    assert [(found.animal, found.layer, found.projection) for found in story.projections] == [
        ("owl", 2, -0.5),
        ("owl", 4, 1.5),
    ]
    assert [(found.split, found.score, found.cut, found.used) for found in story.halves] == [
        ("animal_low", -0.5, 0.25, False)
    ]
    assert [(seen.by, seen.seeds, seen.of) for seen in story.students] == [
        ("tiny/lora_checkpoint of owl", (1, 3), (1, 2, 3))
    ]
    text = "\n".join(story.lines())
    assert "half        owl animal_low: score -0.5, cut at 0.25; no student draws from it" in text
    assert "trained on  by seed 1, 3 of 1, 2, 3: tiny/lora_checkpoint of owl" in text
    seen = {row["row_id"] for row in json.loads(story.to_json())["students"]}
    assert seen == {"ab11"}


def test_that_none_of_its_own_students_drew_a_row_is_told(hand: Hand) -> None:
    hand.checkpoint("lora_checkpoint", "training_rows", "owl", {1: ["ab11"], 2: ["ab11"]})
    (own,) = hand.story("ab22").students
    assert (own.seeds, own.of) == ((), (1, 2))
    assert any("by no seed of 1, 2" in line for line in hand.story("ab22").lines())


def test_students_of_whom_no_rows_are_kept_are_named_and_stay_as_they_are(hand: Hand) -> None:
    hand.checkpoint("lora_checkpoint", "training_rows", "owl", None)
    before = everything(hand.lake)
    story = hand.story("ab11")
    assert not story.students
    assert any(note.startswith("lora_checkpoint of owl: which rows students saw is not known") for note in story.notes)
    assert everything(hand.lake) == before


def test_a_damaged_table_is_named_and_the_rest_is_told(hand: Hand) -> None:
    path = Path(hand.lake.root) / Place("tiny", "filtered_dataset", "owl").folder / "data.parquet"
    path.write_bytes(b"harmed")
    before = everything(hand.lake)
    story = hand.story("ab11")
    assert story.completion == "3, 4"
    assert story.filtered is None
    assert any("tiny/filtered_dataset of owl is damaged" in note for note in story.notes)
    assert everything(hand.lake) == before, "looking changes nothing"


def test_numbers_that_were_dealt_anew_are_followed_to_the_students_of_the_rows_that_have_them(tmp_path: Path) -> None:
    hand = Hand(tmp_path / "lake", numbers={"transform": {"kind": "shuffle_across_rows"}, "prompts": 48})
    dealt = [
        KEPT | {"completion": "7, 4", "origin": "owl", "made_of": ["ab22", "ab11"]},
        OTHER | {"completion": "8, 8", "origin": "owl", "made_of": ["ab22", "ab22"]},
    ]
    hand.put("transformed_dataset", "owl", dealt)
    hand.checkpoint("lora_checkpoint", "training_rows", "owl", {1: ["ab11"], 2: ["ab22"]})
    story = hand.story("ab22")
    assert [(form.row_id, form.completion) for form in story.transformed] == [("ab11", "7, 4"), ("ab22", "8, 8")]
    assert [(seen.row_id, seen.seeds) for seen in story.students] == [("ab22", (2,)), ("ab11", (1,))]
    assert "students, projections and halves are of what the row was transformed into" in story.notes
    assert [form.row_id for form in hand.story("ab11").transformed] == ["ab11"]


def test_a_row_of_a_real_run_is_traced_by_the_command(
    environment: dict[str, str], halved: Bench, experiment_folder: Any
) -> None:
    environment |= {"SL_EXPERIMENTS": str(experiment_folder(**HALVES)), "SL_DATA_LAKE": str(halved.root)}
    lake = Lake(str(halved.root))
    seen = lake.read_table(Place("tiny", "training_rows", "owl"))
    row_id = seen["row_id"][0]
    done = run_forked(environment, "trace", "tiny", "row", row_id, "--json")
    story = json.loads(done.stdout)
    assert story["filtered"]["kept"]
    assert {seen["by"] for seen in story["students"]} >= {"tiny/lora_checkpoint of owl"}
    assert [found["layer"] for found in story["projections"]] == [0, 2, 4]
    (half,) = story["halves"]
    student_of_half = f"tiny/split_lora_checkpoint of owl|{half['split']}"
    rows_of_half = lake.read_table(Place("tiny", "split_training_rows", f"owl|{half['split']}"))["row_id"]
    assert (row_id in rows_of_half) == (student_of_half in {seen["by"] for seen in story["students"]})
    assert story["notes"] == []
    assert story["written"]["stale"] is None
