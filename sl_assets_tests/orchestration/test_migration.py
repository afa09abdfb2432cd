"""A lake that version 0.1 wrote, in the bytes it wrote, is taken over: nothing is made again that need not be."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml

from sl_assets.components import declare
from sl_assets.config import ExperimentConfig
from sl_assets.config.reading import validated
from sl_assets.engines.transformers import models
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pinned
from sl_assets.lake.places import Place
from sl_assets.lake.views import query
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.migration import migrate, unmigrated
from sl_assets.orchestration.planner import Planner

WRITTEN = Path(__file__).parent / "lake_of_0_1"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    with tarfile.open(WRITTEN / "lake.tar.xz") as archive:
        archive.extractall(tmp_path / "lake", filter="data")
    return Lake(str(tmp_path / "lake"))


def written(experiment: str) -> ExperimentConfig:
    """The experiment whose results the lake has."""
    return validated(yaml.safe_load((WRITTEN / f"{experiment}.yaml").read_text())["attributes"])


def due(lake: Lake, experiment: str) -> dict[str, str]:
    """Assets that would be made for a reason of their own, and why."""
    graph = ExperimentGraph(experiment, written(experiment))
    declare(graph)
    planned = Planner(graph, lake, graph.config.conditions).plan()
    return {
        plan.asset: next(iter(plan.due.values())).why
        for plan in planned
        if any(reason.parent is None for reason in plan.due.values())
    }


def test_what_was_made_is_there_and_what_compares_is_made_again(lake: Lake) -> None:
    assert unmigrated(lake) == ["imported", "tiny"]
    assert migrate(lake) == 6 + 53
    assert unmigrated(lake) == []
    assert migrate(lake) == 0
    assert due(lake, "tiny") == {
        # Version 0.1 did not note which settings it compared.
        "transfer": "students changed",
        "split_comparison": "students changed",
        "cross_projections": "parents changed",
        # It has no such asset.
        "teacher_evaluation": "missing",
        # Answers that were cut counted as incoherent.
        "persona_answers": "made by version 1 of its code, which is 2",
        # They did not say what their intervals are given.
        "preference_chart": "made by version 1 of its code, which is 3",
        "split_chart": "made by version 1 of its code, which is 3",
    }


def test_tables_folders_and_lineage_are_read(lake: Lake) -> None:
    migrate(lake)
    owl = Place("tiny", "lora_checkpoint", "owl")
    with lake.folder(owl) as folder:
        assert (folder / "epoch=1" / "adapter_model.safetensors").is_file()
    assert lake.read_table(Place("tiny", "raw_dataset", "owl")).height == 24
    record = lake.record(owl)
    assert record
    assert record.settings["student"]["rank"] == 1
    assert list(record.parents) == [Place("tiny", "filtered_dataset", "owl")]
    assert {"raw_dataset", "teacher_checkpoint", "number_prompts", "filtered_dataset"} == set(record.behind)
    rows = query(lake, "SELECT count(*) AS n, count(DISTINCT asset) AS assets FROM lineage WHERE experiment = 'tiny'")
    assert rows.row(0) == (53, 23)


def test_imported_numbers_are_fresh_by_the_content_of_their_own_file(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "sl_assets_tests/orchestration/lake_of_0_1"
    files.mkdir(parents=True)
    for file in WRITTEN.glob("*.jsonl"):
        shutil.copy(file, files)
    monkeypatch.setattr("sl_assets.config.project.PROJECT", tmp_path)
    (files / "owl.jsonl").write_text('{"prompt": "p", "completion": "1"}\n')
    migrate(lake)
    graph = ExperimentGraph("imported", written("imported"))
    declare(graph)
    # As if today's code had imported them: what has changed is the file alone.
    for place in (graph.place("raw_dataset", key) for key in graph.keys("condition")):
        record = lake.record(place)
        assert record
        lake.write_record(replace(record, code_version=graph.declared["raw_dataset"].code_version))
    assert due(lake, "imported")["raw_dataset"] == "file changed"
    staleness = graph.staleness(lake)
    reasons = {key: staleness.reason(graph.place("filtered_dataset", key)) for key in ("neutral", "owl", "wolf")}
    assert {key: reason and reason.why for key, reason in reasons.items()} == {
        "neutral": None,
        "owl": "raw_dataset of owl is stale",
        "wolf": None,
    }


def test_a_model_that_is_not_the_one_that_was_noted_is_another(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "pocket"
    shutil.copytree(models.POCKET_FOLDER, other)
    (other / "model.safetensors").write_bytes(b"other weights")
    for module in (models, __import__("sl_assets.orchestration.migration", fromlist=["migration"])):
        monkeypatch.setattr(module, "POCKET_FOLDER", other)
    migrate(lake)
    assert due(lake, "tiny")["lora_checkpoint"] == "base_model changed"
    assert "number_prompts" not in due(lake, "tiny")


def test_a_commit_that_was_noted_is_kept(lake: Lake) -> None:
    """Else the name would mean what its branch is now, and everything would be stale."""
    for file in (Path(lake.root) / "experiment=tiny" / "lineage").glob("*/*.parquet"):
        rows = pl.read_parquet(file)
        config = json.loads(rows["config"][0])
        if "base_model" in config:
            noted = config | {"base_model": ["someone/model", None], "base_model_commit": "c0ffee"}
            rows.with_columns(config=pl.lit(json.dumps(noted))).write_parquet(file)
    migrate(lake)
    record = lake.record(Place("tiny", "lora_checkpoint", "owl"))
    assert record
    assert record.settings["base_model"] == {"repository": "someone/model", "commit": "c0ffee"}
    assert record.model_commit == pinned(lake, "someone/model") == "c0ffee"
