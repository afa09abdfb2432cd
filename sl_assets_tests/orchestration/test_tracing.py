"""What a link of the chain behind a result says."""

import json
from pathlib import Path

from sl_assets.components import declare
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.tracing import Link, links, model_of, seeds_named_in, text_of
from sl_assets_tests.conftest import tiny_config
from sl_assets_tests.lake.test_records import FULL, recorded

RATES, ANSWERS = Place("tiny", "preference_rates", "owl"), Place("tiny", "evaluation", "owl")


def test_a_link_says_model_commit_code_libraries_and_what_became_of_parents() -> None:
    (kept, changed) = FULL.parents
    link = Link(FULL.place, FULL, "filtered_dataset changed", None, {kept: FULL.parents[kept], changed: "p2"})
    text = "\n".join(text_of(link))
    assert f"{FULL.place}: STALE, for filtered_dataset changed" in text
    assert "  model     alice/model@v1, commit c0ffee" in text
    assert "code 3" in text
    assert "  libraries torch 2.9" in text
    assert f"{changed}, version {FULL.parents[changed]}, which is p2 now" in text
    assert f"{kept}, version {FULL.parents[kept]}\n" in text


def test_a_link_as_json_is_its_record_and_its_state() -> None:
    now = dict.fromkeys(FULL.parents)
    found = json.loads(json.dumps(Link(FULL.place, FULL, None, "a check", now).to_json()))
    assert (found["asset"], found["state"], found["not_to_be_used"]) == ("split_lora_checkpoint", "fresh", "a check")
    assert found["libraries"] == dict(FULL.libraries)
    assert [parent["version_now"] for parent in found["parents"]] == [None, None]
    assert Link(RATES, None).to_json()["state"] == "missing"


def test_models_are_told_by_what_is_known_of_their_content() -> None:
    def told(setting: object) -> str | None:
        return model_of(recorded(RATES, "v", settings={"base_model": setting}))

    assert told({"name": "pocket", "content": "abc"}) == "pocket, content abc"
    assert told({"model": "gpt", "base_url": "https://api"}) == "gpt, served by https://api"
    assert told({"repository": "org/model"}) == "org/model"
    assert model_of(recorded(RATES, "v")) is None


def test_seeds_are_told_wherever_they_stand() -> None:
    settings = {
        "student": {"seeds": [1, 2], "rank": 8},
        "numbers.seed": 42,
        "splits": ["seed"],
        "a": {"b": {"seed": 3}},
    }
    assert seeds_named_in(settings) == {"student.seeds": [1, 2], "numbers.seed": 42, "a.b.seed": 3}


def test_the_chain_goes_on_where_a_parent_has_changed_and_ends_where_one_is_gone(tmp_path: Path) -> None:
    lake, graph = Lake(str(tmp_path / "lake")), ExperimentGraph("tiny", tiny_config())
    declare(graph)
    lake.write_record(recorded(RATES, "v", {ANSWERS: "then", Place("gone", "number_prompts"): "p"}))
    lake.write_record(recorded(ANSWERS, "now"))
    found = list(links(graph, lake, RATES))
    assert [(link.place.table, link.record is None) for link in found] == [
        ("preference_rates", False),
        ("evaluation", False),
        ("number_prompts", True),
    ]
    text = "\n".join(line for link in found for line in text_of(link))
    assert "read      tiny/evaluation of owl, version then, which is now now" in text
    assert "gone/number_prompts: missing" in text
