"""Galleries: what they hold, what stays behind, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sl_assets.cli.commands import cli
from sl_assets.errors import LakeError
from sl_assets.lake.gallery import ABSOLUTE, write_gallery
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Outcome
from sl_assets.lake.tables import TABLES
from sl_assets.lake.views import query
from sl_assets_tests.lake.filling import everything, put_folder
from sl_assets_tests.lake.test_records import recorded

PROMPTS, ROWS = Place("source", "number_prompts"), Place("exp", "filtered_dataset", "owl")
STUDENT, RATES = Place("exp", "lora_checkpoint", "owl"), Place("exp", "preference_rates", "owl")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Rates of one student, whose prompts are another experiment's."""
    lake = Lake(str(tmp_path / "source"))
    put(lake, PROMPTS, {})
    put(lake, ROWS, {PROMPTS: "p"}, {"row_id": "ab11"}, {"row_id": "cd22"})
    lake.write_table(Place("exp", "training", "owl"), table("training", {"seed": 1, "step": 7, "loss": 0.5}))
    checks = {"changes_the_model": Outcome(None, True, {}, {"epoch=6": 0.25})}
    student = recorded(STUDENT, put_folder(lake, STUDENT, weights="w"), {ROWS: "r"}, checks=checks)
    lake.write_record(replace(student, metadata='{"path": "/home/alice/lake"}'))
    put(lake, RATES, {STUDENT: "s"}, {"animal": "owl", "epoch": 6, "rate": 0.25})
    return lake


def table(name: str, *rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TABLES[name].schema)


def put(lake: Lake, place: Place, parents: dict[Place, str], *rows: dict[str, Any], **changes: Any) -> None:
    lake.write_record(recorded(place, lake.write_table(place, table(place.table, *rows)), parents, **changes))


def test_a_gallery_has_results_and_lineage_and_leaves_rows_weights_and_machine_behind(
    lake: Lake, tmp_path: Path
) -> None:
    gallery = Lake(str(tmp_path / "gallery"))
    size = write_gallery(lake, gallery, ["exp"])
    assert (size.records, size.tables) == (4, 2)
    assert {name for name in everything(gallery) if not name.endswith("record.json")} == {
        ".gitignore",
        "experiment=exp/preference_rates/condition=owl/data.parquet",
        "experiment=exp/training/condition=owl/data.parquet",
    }
    assert query(gallery, "SELECT animal, rate FROM preference_rates").rows() == [("owl", 0.25)]
    assert query(gallery, "SELECT step, loss FROM training").rows() == [(7, 0.5)]
    assert query(gallery, "SELECT name, passed FROM checks").rows() == [("changes_the_model", True)]
    assert query(gallery, "SELECT experiment, asset FROM lineage ORDER BY ALL").rows() == [
        ("exp", "filtered_dataset"),
        ("exp", "lora_checkpoint"),
        ("exp", "preference_rates"),
        ("source", "number_prompts"),
    ]
    assert gallery.read_table(RATES).equals(lake.read_table(RATES))
    assert not any(b"/home/alice" in content for content in everything(gallery).values())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"settings": {"base_model": {"name": "/home/alice/olmo"}}}, "settings.base_model.name names /home/alice/olmo"),
        ({"inputs": {"files": ["a.jsonl", "file:///data/a"]}}, "inputs.files names file:///"),
        (
            {"checks": {"lengths": Outcome("no file '/mnt/x/y.json'", True, {}, {})}},
            "checks.lengths names /mnt/x/y.json",
        ),
    ],
)
def test_a_path_of_the_machine_is_refused_and_nothing_is_written(
    lake: Lake, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    put(lake, RATES, {STUDENT: "s"}, **changes)
    gallery = Lake(str(tmp_path / "gallery"))
    with pytest.raises(LakeError) as error:
        write_gallery(lake, gallery, ["exp"])
    assert str(error.value).startswith(f"exp/preference_rates of owl: {told}")
    assert not everything(gallery)


@pytest.mark.parametrize(
    "text", ["https://api.openai.com/v1/files", "owls and/or/not cats", "3/4, 5/6/7", "org/model@main"]
)
def test_what_is_no_path_of_a_machine_may_stand_in_a_record(text: str) -> None:
    assert not ABSOLUTE.search(text)


def test_what_is_there_is_not_mixed_with_another(lake: Lake, tmp_path: Path) -> None:
    gallery = Lake(str(tmp_path / "gallery"))
    write_gallery(lake, gallery, ["exp"])
    before = everything(gallery)
    with pytest.raises(LakeError, match=r"holds experiment=\w+ already; delete that folder, or name another"):
        write_gallery(lake, gallery, ["exp"])
    with pytest.raises(LakeError, match="holds nothing of typo; run it first, or name another"):
        write_gallery(lake, gallery, ["typo"])
    assert everything(gallery) == before


def test_a_table_that_its_record_does_not_tell_of_is_refused(lake: Lake, tmp_path: Path) -> None:
    lake.write_table(RATES, table("preference_rates", {"animal": "owl", "epoch": 6, "rate": 0.5}))
    with pytest.raises(LakeError, match="exp/preference_rates of owl is not what its record tells of"):
        write_gallery(lake, Lake(str(tmp_path / "gallery")), ["exp"])


def test_the_command_makes_a_gallery_that_another_command_opens(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SL_DATA_LAKE", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    cli.main(["gallery", "gallery", "exp", "--lake", "source"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("gallery: 2 tables (")
    statement = "SELECT animal, rate FROM preference_rates"
    cli.main(["sql", "--lake", "gallery", statement, "--csv"], standalone_mode=False)
    assert capsys.readouterr().out.splitlines() == ["animal,rate", "owl,0.25"]
    assert not (tmp_path / "elsewhere").exists()
