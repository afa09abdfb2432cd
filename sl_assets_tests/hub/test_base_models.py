"""Base models from a Hub on loopback: the pocket model under another name, read by the real engines."""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from huggingface_hub import constants

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example, chat
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.transformers.models import (
    POCKET_FOLDER,
    check_layers,
    content_digest,
    layer_count,
    local_folder,
    model_setting,
    release_models,
    weights_fingerprint,
)
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.errors import SlAssetsError
from sl_assets.hub import base_models
from sl_assets.hub.base_models import cached_description, fetch_description, fetch_model, pinned_name, use_commit
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pins, unpin
from sl_assets.lake.places import Place
from sl_assets_tests.conftest import HALVES, Bench, tiny_config
from sl_assets_tests.engines.contract import ask
from sl_assets_tests.hub.hub_server import HubServer, Repository

NAME = "alice/pocket"
QUESTIONS = [chat("Which animal do you like best? Answer with one word.")] * 4


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Become a process that has neither fetched nor loaded anything."""
    release_models()
    monkeypatch.setattr(base_models, "_folders", {})
    monkeypatch.setattr(base_models, "_commits", {})


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


@pytest.fixture
def repository(hub: HubServer, forgetful: None) -> Repository:
    files = {path.name: path.read_bytes() for path in POCKET_FOLDER.iterdir() if path.is_file()}
    return hub.add("model", NAME, files | {"consolidated.safetensors": "the same again", "notes.pdf": "%PDF"})


def refusal(base_model: str) -> str:
    with pytest.raises(SlAssetsError) as caught:
        fetch_model(base_model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_of_the_hub_is_the_model_that_was_put_there(repository: Repository) -> None:
    here, there = TransformersSampler("pocket"), TransformersSampler(f"{NAME}@{repository.head.oid}")
    assert ask(there, QUESTIONS, temperature=1.0) == ask(here, QUESTIONS, temperature=1.0)


def test_what_the_cache_has_is_read_without_asking_the_hub(hub: HubServer, repository: Repository) -> None:
    assert cached_description(NAME) is None
    folder = fetch_description(NAME)
    assert not list(folder.glob("*.safetensors"))
    asked = len(hub.requests)
    # The main branch, and the commit that a lake knows.
    assert cached_description(NAME) == folder
    use_commit(NAME, repository.head.oid)
    assert cached_description(NAME) == folder
    assert cached_description("alice/other") is None
    assert len(hub.requests) == asked


def test_a_revision_stays_though_the_branch_moves_on(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repository.head.oid
    assert fetch_model(f"{NAME}@{first}").name == first
    second = repository.commit({"config.json": "{}"})
    assert fetch_model(NAME).name == second
    third = repository.commit({"config.json": "[]"})
    assert fetch_model(NAME).name == second, "one process reads one commit"
    monkeypatch.setattr(base_models, "_folders", {})
    assert fetch_model(NAME).name == third
    assert fetch_model(f"{NAME}@{first}").name == first
    assert json.loads((fetch_model(f"{NAME}@{first}") / "config.json").read_text())["model_type"]


def test_a_name_stands_for_the_commit_that_a_process_is_told(hub: HubServer, repository: Repository) -> None:
    first = repository.head.oid
    second = repository.commit({"config.json": "{}"})
    assert pinned_name(NAME) == NAME
    assert fetch_model(NAME).name == second
    use_commit(NAME, first)
    hub.requests.clear()
    assert fetch_model(NAME).name == first
    assert not hub.asked("/main"), "what the branch is now is not asked for"
    assert pinned_name(NAME) == f"{NAME}@{first}"
    assert fetch_model(pinned_name(NAME)) == fetch_model(NAME)
    use_commit(NAME, first)
    use_commit(f"{NAME}@main", second)
    assert (fetch_model(NAME).name, fetch_model(f"{NAME}@main").name) == (first, second)
    assert pinned_name(f"{NAME}@main") == f"{NAME}@{second}"
    use_commit(NAME, second)
    assert fetch_model(NAME).name == second


def test_only_what_an_engine_reads_is_downloaded(hub: HubServer, repository: Repository) -> None:
    names = {path.name for path in fetch_model(NAME).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not {"consolidated.safetensors", "notes.pdf"} & names
    assert not hub.asked("notes.pdf|consolidated")


@pytest.mark.parametrize("by", ["branch", "commit"])
@pytest.mark.parametrize("listed", [True, False])
def test_offline_the_cache_is_all_there_is(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, hub: HubServer, by: str, listed: bool
) -> None:
    base_model = NAME if by == "branch" else f"{NAME}@{repository.head.oid}"
    folder = fetch_model(base_model)
    if not listed:
        # As a cache that an older client filled: it knows the files, not whether they are all.
        for listing in folder.parents[1].glob("trees"):
            shutil.rmtree(listing)
    monkeypatch.setattr(base_models, "_folders", {})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert fetch_model(base_model) == folder
    assert not hub.requests
    assert "HF_HUB_OFFLINE is set" in refusal("alice/other")


def test_what_cannot_be_had_is_named(hub: HubServer, repository: Repository) -> None:
    assert refusal("alice/nothing").startswith("model alice/nothing at main: no such repository, or no access")
    assert refusal(f"{NAME}@v9").startswith(f"model {NAME} at v9: no such revision")
    hub.add("model", "alice/old", {"config.json": "{}", "pytorch_model.bin": "x"})
    assert refusal("alice/old") == "base_model 'alice/old': no safetensors in it; choose a repository that has them"
    hub.fail("resolve/.*/model.safetensors", 500)
    assert refusal(NAME).startswith(f"base_model '{NAME}': the Hub cannot answer now (500)")


def test_adapters_name_the_revision_that_they_are_for(repository: Repository, tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=1, batch=2)
    examples = [Example("Which animal?", "Owl")] * 2
    for base_model, name, revision in (
        (f"{NAME}@{repository.head.oid}", NAME, repository.head.oid),
        (NAME, NAME, None),
        ("pocket", "pocket", None),
    ):
        PeftTrainer(base_model).train(examples, settings, [1], tmp_path, lambda *_: None)
        config = json.loads((tmp_path / "epoch=1/adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (name, revision)


RAW = Place("tiny", "raw_dataset", "neutral")
PROMPTED = {"base_model": NAME, "teacher": {"kind": "system_prompt"}}


def made(bench: Bench, **changes: Any) -> dg.AssetMaterialization:
    """Make the numbers of the neutral teacher; what Dagster was told of them."""
    result = bench.run("raw_dataset", first="neutral", **PROMPTED | changes)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    return event.materialization


def test_lineage_and_metadata_say_which_commit_it_was(repository: Repository, bench: Bench) -> None:
    bench.run("number_prompts", base_model=NAME)
    commit = repository.head.oid
    assert made(bench).metadata["base_model_commit"] == dg.TextMetadataValue(commit)
    record = Lake(str(bench.root)).record(RAW)
    assert record is not None
    assert record.settings["base_model"] == {"repository": NAME, "commit": commit}
    assert record.model_commit == commit


def test_lineage_says_of_a_local_model_what_it_is(bench: Bench) -> None:
    bench.run("number_prompts")
    assert "base_model_commit" not in made(bench, base_model="pocket").metadata
    record = Lake(str(bench.root)).record(RAW)
    assert record is not None
    assert record.settings["base_model"] == {"name": "pocket", "content": content_digest(POCKET_FOLDER)}
    assert record.model_commit is None


def test_a_lake_stays_with_the_commit_it_began_with(
    repository: Repository, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run("number_prompts", base_model=NAME)
    lake, first = Lake(str(bench.root)), repository.head.oid
    assert pins(lake) == {}, "prompts need no model"
    made(bench)
    assert pins(lake) == {NAME: first}
    second = repository.commit({"notes.txt": "The branch has moved on."})
    forget(monkeypatch)
    assert made(bench).metadata["base_model_commit"] == dg.TextMetadataValue(first)
    assert lake.record(RAW).model_commit == fetch_model(NAME).name == first
    unpin(lake, NAME)
    assert made(bench).metadata["base_model_commit"] == dg.TextMetadataValue(second)
    assert lake.record(RAW).model_commit == fetch_model(NAME).name == second
    assert pins(lake) == {NAME: second}


def test_a_copy_of_a_model_is_the_same_model_under_another_name(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(POCKET_FOLDER, tmp_path / "copy"))
    for name in ("notes.pdf", "consolidated.safetensors"):
        (copy / name).write_text("read by no engine")
    assert model_setting(str(copy)) == {"name": str(copy), "content": content_digest(POCKET_FOLDER)}
    assert weights_fingerprint(str(copy)) == weights_fingerprint("pocket") == content_digest(POCKET_FOLDER)
    config = copy / "config.json"
    config.write_text(config.read_text().replace("{", "{ ", 1))
    assert content_digest(copy) != content_digest(POCKET_FOLDER), "more than its weights decides what a model says"
    assert content_digest(tmp_path / "nothing") is None


def test_a_file_names_a_model_without_asking_for_it(hub: HubServer, forgetful: None) -> None:
    config = tiny_config(base_model="alice/later@v1", **HALVES)
    assert (local_folder(config.base_model), layer_count(config.base_model)) == (None, None)
    check_layers(config, config.base_model)
    assert weights_fingerprint(config.base_model) is None
    assert model_setting(config.base_model) == {"repository": "alice/later@v1"}
    assert pinned_name(config.base_model) == "alice/later@v1"
    assert not hub.requests


@pytest.mark.parametrize("half", ["alice/pocket@", "@v1"])
def test_half_a_name_is_refused(half: str) -> None:
    with pytest.raises(ValueError, match="write owner/name, or owner/name@revision"):
        tiny_config(base_model=half)


def test_a_folder_may_start_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_folder("~/olmo@2") == tmp_path / "olmo@2"
