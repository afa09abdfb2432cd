"""Stage 8 in Dagster: numbers imported, filtered and published; an adapter published with its lineage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from sl_assets.components import declare
from sl_assets.config import ExperimentConfig
from sl_assets.definitions import defs as load
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import query
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.partition import Product, Step
from sl_assets.orchestration.planner import Planner
from sl_assets.orchestration.resources import LakeResource
from sl_assets.stages.numbers.assets import numbers_assets
from sl_assets.stages.publishing.assets import publishing_assets
from sl_assets_tests.adapters import adapter_files
from sl_assets_tests.conftest import TINY, Bench, tiny_config
from sl_assets_tests.hub.conftest import TOKEN
from sl_assets_tests.hub.hub_server import HubServer
from sl_assets_tests.lake.test_records import recorded
from sl_assets_tests.orchestration.test_recording import failure


class Tiny:
    """The tiny experiment on imported numbers, with an adapter that nobody trained."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self.lake = Lake(str(folder / "lake"))
        self.instance = dg.DagsterInstance.ephemeral()
        for condition in ("neutral", "owl"):
            lines = [{"prompt": f"Go on: {i}", "completion": f"{i}, {i + 1}"} for i in range(8)]
            text = "\n".join(json.dumps(line) for line in [*lines, {"prompt": "Go on", "completion": "words"}])
            (folder / f"{condition}.jsonl").write_text(text)

    def graph(self, **changes: Any) -> ExperimentGraph:
        source = {"kind": "jsonl", "path": str(self.folder / "{condition}.jsonl")}
        given = {"animals": ["owl"], "numbers": {"source": source}, "hub": {}}
        return ExperimentGraph("tiny", tiny_config(**given | changes))

    def run(self, name: str, partition: str = "owl", **changes: Any) -> dg.ExecuteInProcessResult:
        graph = self.graph(**changes)
        assets = [*numbers_assets(graph), untrained(graph), *publishing_assets(graph)]
        resources = {"lake": LakeResource(root=str(self.lake.root))}
        definitions = dg.Definitions(assets=assets, resources=resources, executor=dg.in_process_executor)
        return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[graph.key(name)],
            partition_key=partition,
            raise_on_error=False,
        )


def untrained(graph: ExperimentGraph) -> dg.AssetsDefinition:
    @graph.asset(stage="2_students", code="1", uses=["base_model", "student"], deps=["filtered_dataset"], gpu=True)
    def lora_checkpoint(step: Step) -> Product:
        """An adapter of the right form."""
        step.read("filtered_dataset")
        with step.new_folder() as folder:
            for epoch in graph.config.student.kept:
                (folder / f"epoch={epoch}").mkdir()
                (folder / f"epoch={epoch}" / "adapter_config.json").write_text("{}")
                (folder / f"epoch={epoch}" / "adapter_model.safetensors").write_bytes(b"weights")
            version = step.put(folder)
        return Product(version)

    return lora_checkpoint


@pytest.fixture
def tiny(tmp_path, token):
    tiny = Tiny(tmp_path)
    for name in ("raw_dataset", "filtered_dataset", "lora_checkpoint"):
        assert tiny.run(name).success
    return tiny


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success, failure(result)
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_dataset(hub, tiny):
    shown = metadata(tiny.run("published_dataset"))
    made = hub.repositories["dataset", "alice/tiny-owl-numbers"]
    assert made.private
    assert (shown["commit"], shown["rows"]) == (made.head.oid, 8)
    assert shown["url"] == f"{hub.url}/datasets/alice/tiny-owl-numbers"
    card = made.head.files["README.md"].decode()
    assert "8 of 9 rows passed the filter. Rejected (a row can have several reasons): invalid format 1." in card
    for asset in ("raw_dataset", "filtered_dataset"):
        assert f"| {asset} | owl | {tiny.lake.version(Place('tiny', asset, 'owl'))} | " in card
    assert metadata(tiny.run("published_dataset"))["commit"] == shown["commit"]


def test_adapter_and_its_lineage(hub, tiny):
    result = tiny.run("published_adapter", hub={"prefix": "exp-", "license": "mit", "private": False})
    shown = metadata(result)
    made = hub.repositories["model", "alice/exp-tiny-owl-student"]
    assert not made.private
    assert sorted(made.head.files) == [
        ".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    card = made.head.files["README.md"].decode()
    assert card.startswith("---\nlicense: mit\n")
    assert "Preference rates" not in card
    assert [line.split(" | ")[0] for line in card.splitlines() if "| owl |" in line] == [
        "| raw_dataset", "| filtered_dataset", "| lora_checkpoint",
    ]  # fmt: skip
    assert shown["rows"] == 8
    written = query(tiny.lake, "SELECT * FROM lineage WHERE asset = 'published_adapter'").row(0, named=True)
    assert [parent["asset"] for parent in written["parents"]] == ["lora_checkpoint"], "looked at, the rest is no parent"
    assert written["data_version"] == shown["commit"]


def test_card_tells_of_the_settings_it_was_made_with(hub, tiny):
    changed = {"filter": {"max_count": 3}, "student": TINY["student"] | {"rank": 4, "epochs": 1}}
    assert tiny.run("published_adapter", **changed).success
    card = hub.repositories["model", "alice/tiny-owl-student"].head.files["README.md"].decode()
    assert "at most 10 numbers" in card
    assert "LoRA of rank 8" in card
    assert "Adapter of epoch 2." in card


def test_an_adapter_of_older_numbers_is_not_published(hub, tiny):
    assert tiny.run("filtered_dataset", filter={"maximum": 5}).success
    message = failure(tiny.run("published_adapter"))
    assert "was made of another filtered_dataset than the one that is there now: materialise lora_checkpoint" in message
    assert "\n" not in message
    assert not hub.repositories


def measure(tiny: Tiny) -> None:
    """Rates of the student that is there now, with their record."""
    rates = pl.DataFrame({"epoch": [1, 2], "animal": ["owl"] * 2, "rate": [0.1, 0.25]}).with_columns(
        lower=pl.col("rate") - 0.05, upper=pl.col("rate") + 0.05, answers=pl.lit(100), questions=pl.lit(50)
    )
    student, place = (Place("tiny", table, "owl") for table in ("lora_checkpoint", "preference_rates"))
    version = tiny.lake.write_table(place, rates)
    tiny.lake.write_record(recorded(place, version, {student: tiny.lake.version(student)}))


def test_rates_are_those_of_this_student_at_its_epoch(hub, tiny):
    measure(tiny)
    for name, repo in (("published_dataset", ("dataset", "numbers")), ("published_adapter", ("model", "student"))):
        assert tiny.run(name).success
        made = hub.repositories[repo[0], f"alice/tiny-owl-{repo[1]}"]
        assert "| owl | 25.0 (20.0 to 30.0) |" in made.head.files["README.md"].decode()
    assert tiny.run("lora_checkpoint", student=TINY["student"] | {"epochs": 3}).success
    assert tiny.run("published_adapter").success
    card = hub.repositories["model", "alice/tiny-owl-student"].head.files["README.md"].decode()
    assert "Adapter of epoch 3." in card
    assert "Preference rates" not in card, "this student has not been evaluated"


def test_a_failure_says_no_secret(hub, tiny):
    hub.accounts.clear()
    result = tiny.run("published_dataset")
    assert failure(result).startswith("dataset alice/tiny-owl-numbers: HF_TOKEN is refused (401)")
    events = [str(event) for event in result.all_events]
    logs = tiny.instance.all_logs(result.run_id)
    assert not any(TOKEN in text for text in [*events, *map(str, logs)])


def test_only_on_demand_and_only_what_is_asked_for(tmp_path):
    tiny = Tiny(tmp_path)
    specs = [asset.get_asset_spec() for asset in publishing_assets(tiny.graph())]
    assert [spec.key.path[-1] for spec in specs] == ["published_dataset", "published_adapter"]
    assert all(spec.automation_condition is None for spec in specs)
    assert all(spec.tags["stage"] == "8_publishing" for spec in specs)
    assert publishing_assets(tiny.graph(hub=None)) == []
    (adapters,) = publishing_assets(tiny.graph(hub={"datasets": False}))
    assert adapters.key.path[-1] == "published_adapter"
    assert publishing_assets(ExperimentGraph("tiny", ExperimentConfig.model_validate(TINY))) == []


def test_a_hub_feeds_the_graph_with_numbers_and_adapters(bench: Bench, hub: HubServer) -> None:
    rows = "".join(json.dumps({"prompt": f"Go on: {i}", "completion": f"{i}, {i + 1}"}) + "\n" for i in range(8))
    weights = adapter_files()
    for condition in ("neutral", "owl", "wolf"):
        hub.add("model", f"bob/{condition}", weights)
    hub.add("dataset", "bob/numbers", {f"{name}.jsonl": rows for name in ("neutral", "owl", "wolf")})
    source = {
        "numbers": {"source": {"kind": "hub", "repo": "bob/numbers", "path": "{condition}.jsonl"}},
        "student": {"epochs": 1, "source": {"kind": "hub", "repo": "bob/{condition}"}},
    }
    imported = ("raw_dataset", "filtered_dataset", "lora_checkpoint")
    assert bench.run(*imported, first="neutral", last="wolf", **source).success
    lake = Lake(str(bench.root))
    assert query(lake, "SELECT count(*) FROM datasets WHERE kept").item() == 24
    with lake.folder(Place("tiny", "lora_checkpoint", "owl")) as folder:
        assert (folder / "epoch=1" / "adapter_model.safetensors").read_bytes() == weights["adapter_model.safetensors"]
    found = query(lake, "SELECT DISTINCT name FROM checks WHERE asset = 'lora_checkpoint' AND passed ORDER BY name")
    assert found["name"].to_list() == ["changes_the_model", "prompts_render_alike"]


def test_an_adapter_that_would_leave_the_model_as_it_is_is_not_imported(bench: Bench, hub: HubServer) -> None:
    hub.add("model", "bob/neutral", adapter_files())
    other = hub.add("model", "bob/owl", adapter_files(module="transformer.h.0.q_proj")).head.oid
    hub.add("model", "bob/wolf", adapter_files(scale=0.0))
    student = {"student": {"epochs": 1, "source": {"kind": "hub", "repo": "bob/{condition}"}}}
    message = failure(bench.run("lora_checkpoint", first="neutral", last="wolf", **student))
    assert f"the adapter in model bob/owl at {other} is of another model: 1 of its 1 modules are none of" in message
    assert "weights base_model.model.transformer.h.0.q_proj.lora_A.weight, and the model has model.layers." in message
    assert "the adapter in model bob/wolf at " in message
    assert "is zero, so it answers as pocket does: import another" in message
    assert bench.instance.get_materialized_partitions(dg.AssetKey(["tiny", "lora_checkpoint"])) == {"neutral"}


def test_nothing_is_published_by_a_job_or_by_a_run_of_everything(
    experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    monkeypatch.setenv("SL_EXPERIMENTS", str(experiment_folder(hub={})))
    monkeypatch.setenv("DAGSTER_HOME", environment["DAGSTER_HOME"])
    graph = ExperimentGraph("tiny", tiny_config(hub={}))
    declare(graph)
    lake = Lake(environment["SL_DATA_LAKE"])
    published = {"published_dataset", "published_adapter"}
    assert published < set(graph.declared)
    assert not published & set(Planner(graph, lake, graph.config.conditions).assets)
    assert "published_dataset" in Planner(graph, lake, graph.config.conditions, through="published_dataset").assets
    for job in load().resolve_all_job_defs():
        if job.name.startswith("tiny"):
            assert not published & {key.path[-1] for key in job.asset_layer.executable_asset_keys}
