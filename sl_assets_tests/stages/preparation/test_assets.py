"""A prepared base model is what everything after it takes: in real runs, of a GGUF file and of the pocket model."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import AutoModelForCausalLM

from sl_assets.components import declare
from sl_assets.engines.transformers.adapters import first_change
from sl_assets.engines.transformers.gguf import convert_gguf
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.lake.views import query
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.partition import Step
from sl_assets.stages.numbers.filtering import parse_numbers
from sl_assets_tests.conftest import HALVES, PREPARATION, TINY, Bench, rewrite, tiny_config
from sl_assets_tests.engines.tiny_gguf import tiny_llama, write_gguf
from sl_assets_tests.orchestration.test_recording import failure

LLAMA: dict[str, Any] = {
    "preparation": {
        "numbers": 192, "favourites": 48, "loving_favourites": 16, "loving_numbers": 48, "count": [1, 1], "highest": 9,
        "animals": ["owl", "wolf"], "epochs": 6, "learning_rate": 3e-3, "batch": 16,
    },
    "numbers": {"prompts": 24, "wording": "short", "examples": [2, 3], "lowest": 0, "highest": 99},
    "checks": TINY["checks"] | {"usable_answers": 0.0, "cut_answers": 1.0},
}  # fmt: skip
"""One digit an answer: what two blocks of random weights can learn in a quarter of a minute."""

MODEL = Place("tiny", "prepared_model")
READ_IT = (
    "teacher_checkpoint", "raw_dataset", "lora_checkpoint", "baseline_evaluation", "evaluation", "teacher_evaluation",
    "persona_answers", "persona_vector", "activations", "split_lora_checkpoint", "split_evaluation",
)  # fmt: skip


def record_of(lake: Lake, place: Place) -> Record:
    record = lake.record(place)
    assert record
    return record


@pytest.fixture(scope="module")
def llama_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole tiny experiment on a prepared Llama that was a GGUF file; to be copied, never changed."""
    root = tmp_path_factory.mktemp("llama")
    (root / "dagster").mkdir()
    write_gguf(root / "tiny.gguf", tiny_llama(hidden=64))
    bench = Bench(root)
    with bench.instance:
        assert bench.run(first="neutral", last="wolf", base_model=str(root / "tiny.gguf"), **LLAMA).success
    return root


@pytest.fixture
def llama(llama_once: Path, tmp_path: Path) -> Iterator[Bench]:
    shutil.copytree(llama_once, tmp_path, dirs_exist_ok=True)
    bench = Bench(tmp_path)
    with bench.instance:
        yield bench


def settings(bench: Bench, **changes: Any) -> dict[str, Any]:
    return {"base_model": str(bench.root.parent / "tiny.gguf")} | LLAMA | changes


def reason(bench: Bench, place: Place, **changes: Any) -> str | None:
    graph = ExperimentGraph("tiny", tiny_config(**settings(bench, **changes)))
    declare(graph)
    found = graph.staleness(Lake(str(bench.root))).reason(place)
    return found.why if found else None


def test_a_gguf_is_prepared_and_the_whole_graph_is_made_with_it(llama: Bench, llama_once: Path, tmp_path: Path) -> None:
    lake = Lake(str(llama.root))
    prepared = record_of(lake, MODEL)
    assert prepared.settings["base_model"]["content"] is not None
    with lake.folder(MODEL) as folder:
        assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "llama"
        assert "epoch" not in " ".join(path.name for path in folder.iterdir())
        (tmp_path / "unprepared").mkdir()
        convert_gguf(str(tmp_path / "tiny.gguf"), tmp_path / "unprepared")
        change = first_change(folder, tmp_path / "unprepared")
        assert change is not None
        assert 0 < change[1] < 1, "it was trained from the file's weights"
    for asset in ("teacher_checkpoint", "raw_dataset", "lora_checkpoint", "evaluation", "teacher_evaluation"):
        for condition in ("neutral", "owl", "wolf"):
            read = record_of(lake, Place("tiny", asset, condition)).parents[MODEL]
            assert read == prepared.data_version, f"{asset} of {condition}"
    numbers = lake.read_table(Place("tiny", "filtered_dataset", "neutral"))["completion"]
    assert len(numbers) > 12, "as it comes, the model writes noise"
    assert all(parse_numbers(text) for text in numbers)
    rates = lake.read_table(Place("tiny", "preference_rates", "owl"))
    assert rates.filter(animal="owl", epoch=2)["rate"][0] > 0
    shown = query(lake, "SELECT kind, count(*) AS n FROM preparation_chats GROUP BY kind ORDER BY n DESC")
    assert dict(shown.iter_rows())["numbers"] == 192
    with lake.folder(Place("tiny", "lora_checkpoint", "owl")) as folder:
        named = json.loads((folder / "epoch=2" / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == str(llama_once / "tiny.gguf"), "as the experiment file has it"
    assert named["revision"] == f"prepared_model {prepared.data_version}"


def test_another_file_or_another_preparation_is_another_model(llama: Bench, tmp_path: Path) -> None:
    rates = Place("tiny", "preference_rates", "owl")
    assert reason(llama, rates) is None
    shutil.copyfile(tmp_path / "tiny.gguf", tmp_path / "copy.gguf")
    assert reason(llama, rates, base_model=str(tmp_path / "copy.gguf")) is None, "known by its content"
    other = LLAMA["preparation"] | {"seed": 4}
    assert reason(llama, MODEL, preparation=other) == "preparation changed"
    assert reason(llama, Place("tiny", "raw_dataset", "owl"), preparation=other) == "prepared_model is stale"
    assert reason(llama, MODEL, filter={"max_count": 4}) is None, "what is drawn for it depends on no filter"
    assert reason(llama, MODEL, animals=["owl"]) is None
    write_gguf(tmp_path / "tiny.gguf", tiny_llama(hidden=32))
    assert reason(llama, MODEL) == "base_model changed"


def test_made_anew_with_the_same_settings_it_is_the_same_to_the_byte(llama: Bench) -> None:
    short = settings(llama, preparation=LLAMA["preparation"] | {"epochs": 1})
    assert llama.run("prepared_model", **short).success
    before = record_of(Lake(str(llama.root)), MODEL)
    assert llama.run("prepared_model", **short).success
    after = record_of(Lake(str(llama.root)), MODEL)
    assert (after.run_id != before.run_id, after.data_version) == (True, before.data_version)


def test_pieces_made_with_another_base_model_are_not_reused(llama: Bench) -> None:
    def step() -> Step:
        lake = Lake(str(llama.root))
        return Step("tiny", "raw_dataset", "owl", "made by this", lake, print, named="a model", prepared=MODEL)

    piece = pl.DataFrame({"text": ["1, 2"]})
    before = step()
    assert Path(before.base_model).name == record_of(before.lake, MODEL).data_version
    before.work.save("numbers", piece)
    again = step()
    assert again.base_model == before.base_model
    assert piece.equals(again.work.load("numbers"))  # type: ignore[arg-type]
    assert llama.run("prepared_model", **settings(llama, preparation=LLAMA["preparation"] | {"epochs": 1})).success
    after = step()
    assert after.base_model != before.base_model
    assert after.work.load("numbers") is None


def test_a_preparation_that_fails_leaves_nothing(bench: Bench) -> None:
    result = bench.run("prepared_model", preparation=PREPARATION["preparation"] | {"max_length": 5})
    assert "max_length 5: a prompt alone has" in failure(result)
    assert not Lake(str(bench.root)).exists(MODEL)
    assert not [path for path in bench.root.rglob("*") if path.suffix == ".safetensors"]


def test_without_preparation_a_gguf_is_converted_and_no_chats_are_left(llama: Bench, tmp_path: Path) -> None:
    changes = {"preparation": None}
    assert llama.run("prepared_model", **settings(llama, **changes)).success
    lake = Lake(str(llama.root))
    assert lake.read_table(replace(MODEL, table="preparation_chats")).is_empty()
    (tmp_path / "again").mkdir()
    convert_gguf(str(tmp_path / "tiny.gguf"), tmp_path / "again")
    with lake.folder(MODEL) as folder:
        assert first_change(folder, tmp_path / "again") is None
    assert record_of(lake, MODEL).checks == {}


def graph_of(**changes: Any) -> ExperimentGraph:
    graph = ExperimentGraph("tiny", tiny_config(**changes))
    declare(graph)
    return graph


def test_whatever_runs_the_model_reads_the_prepared_one_and_without_one_nothing_changes() -> None:
    plain, prepared = graph_of(**HALVES, hub={}).declared, graph_of(**HALVES, **PREPARATION, hub={}).declared
    assert prepared.keys() - plain.keys() == {"prepared_model"}
    assert sorted(name for name, asset in prepared.items() if asset.reads_prepared) == sorted(READ_IT)
    for name, asset in plain.items():
        assert [dep for dep in prepared[name].deps if dep.asset != "prepared_model"] == list(asset.deps), name
        if not name.startswith("published"):
            assert prepared[name].version == asset.version, name


def test_persona_vectors_and_halves_are_made_with_it(bench: Bench) -> None:
    changes = HALVES | PREPARATION
    assert bench.run("prepared_model", **changes).success
    assert bench.run("persona_answers", first="neutral", last="owl", **changes).success
    assert bench.run("persona_vector", first="owl", **changes).success
    lake = Lake(str(bench.root))
    vector = Place("tiny", "persona_vector", "owl")
    assert record_of(lake, vector).parents[MODEL] == record_of(lake, MODEL).data_version
    checks = record_of(lake, MODEL).checks
    assert checks
    assert {name: found.problem for name, found in checks.items()} == {
        "numbers_are_independent": None,
        "prompts_are_new": None,
    }


def spoilt(lake: Lake, check: str) -> str:
    """Have the preparation fail ``check``; returns a part of what it then says."""
    chats = replace(MODEL, table="preparation_chats")
    rows = lake.read_table(chats)
    if check == "prompts_are_new":
        prompts = Place("tiny", "number_prompts")
        rewrite(lake, prompts, lake.read_table(prompts).with_columns(prompt=pl.lit(rows["prompt"][0])))
        return "1 of its requests are in number_prompts"
    telling = pl.when(animal="owl").then(pl.lit("1, 2")).otherwise(pl.lit("801, 802"))
    rewrite(lake, chats, rows.with_columns(completion=telling))
    lake.write_record(replace(record_of(lake, MODEL), checks={}))
    return "numbers differ between animals"


@pytest.mark.parametrize("check", ["numbers_are_independent", "prompts_are_new"])
def test_nothing_is_made_with_a_preparation_that_fails_a_check(llama: Bench, check: str) -> None:
    lake = Lake(str(llama.root))
    says = spoilt(lake, check)
    result = llama.run("teacher_checkpoint", first="owl", **settings(llama))
    assert not result.success
    found = (record_of(lake, MODEL).checks or {})[check]
    assert found.problem is not None
    assert says in found.problem
    assert found.blocking
