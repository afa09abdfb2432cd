"""What a change of a wording makes stale: what reads the part that changed. docs/wording.md has the same table."""

from pathlib import Path
from typing import Any

import pytest

from sl_assets.components import declare, declare_with_variants
from sl_assets.config import PROJECT, ExperimentConfig
from sl_assets.lake.records import identity
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets_tests.conftest import HALVES, TINY, tiny_config

PAGE = PROJECT / "docs" / "wording.md"
TREES: dict[str, Any] = {
    "extends": "short",
    "kind": {"name": "tree", "plural": "trees"},
    "traits": {"oak": {"plural": "oaks"}, "elm": {"plural": "elms"}, "ash": {"plural": "ashes"}},
}
NUMBERS = {name: value for name, value in TINY["numbers"].items() if name != "wording"}
PERSONAS = {name: value for name, value in HALVES["personas"].items() if name != "wording"}
EXPERIMENT: dict[str, Any] = {
    "animals": ["oak", "elm"],
    "numbers": NUMBERS,
    "evaluation": {"samples_per_question": 2, "method": "both"},
    **HALVES,
    "personas": PERSONAS,
    "steering": {"layers": [2], "coefficients": [1.0]},
}
TOLD = {"teacher": {"kind": "system_prompt"}}

ANSWERS = {
    f"{whose}{answers}"
    for whose in ("baseline_", "", "split_")
    for answers in ("evaluation", "answer_probabilities")
} | {"teacher_evaluation", "steering_sweep"}  # fmt: skip
WEIGHED = {name for name in ANSWERS if name.endswith("probabilities")}
RATES = {"baseline_preference_rates", "preference_rates", "transfer", "split_preference_rates", "split_comparison"}


def merged(parts: dict[str, Any]) -> dict[str, Any]:
    found = dict(TREES)
    for name, value in parts.items():
        found[name] = found.get(name, {}) | value
    return found


def config_of(parts: dict[str, Any], **changes: Any) -> ExperimentConfig:
    return tiny_config(**EXPERIMENT | changes | {"wording": merged(parts)})


def decided(config: ExperimentConfig) -> dict[str, Any]:
    """Of every partition, as ``asset of oak``, all that decides it but its parents."""
    graph = ExperimentGraph("tiny", config)
    declare(graph)
    found: dict[str, Any] = {}
    for name, asset in graph.declared.items():
        for key in graph.keys(asset.by):
            place = graph.place(name, key)
            inputs = dict(asset.inputs(place, lambda _: None)) if asset.inputs else {}
            condition = (key or "").partition("|")[0]
            told = inputs | dict(asset.told(condition))
            whose = f" of {condition}" if condition else ""
            found.setdefault(f"{name}{whose}", []).append((identity(asset.settings), told))
    return found


def differing(parts: dict[str, Any], **changes: Any) -> set[str]:
    before, after = decided(config_of({}, **changes)), decided(config_of(parts, **changes))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def of(names: set[str], *conditions: str) -> set[str]:
    """``names`` for each of ``conditions``, where they have partitions."""
    whole = {"baseline_preference_rates", "baseline_evaluation", "baseline_answer_probabilities"}
    bare = names & (whole | {"transfer", "split_comparison", "number_prompts"})
    by_animal = {name for name in names if name.startswith("split_") or name == "steering_sweep"}
    return bare | {
        f"{name} of {condition}"
        for name in names - bare
        for condition in conditions
        if condition != "neutral" or name not in by_animal
    }


EVERY = ("neutral", "oak", "elm")
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "`numbers.openings`": ({"numbers": {"openings": ["{examples}"]}}, {}, {"number_prompts"}),
    "`teacher.system_prompt`, of teachers that are told": (
        {"teacher": {"system_prompt": "Love {plural}!"}},
        TOLD,
        of({"raw_dataset", "teacher_evaluation"}, "oak", "elm"),
    ),
    "`teacher.control`, of teachers that are told": (
        {"teacher": {"control": "You like all {kinds}."}},
        TOLD,
        of({"raw_dataset"}, "neutral"),
    ),
    "`teacher.questions`, of fine-tuned teachers": (
        {"teacher": {"questions": ["Which {kind}?"]}},
        {},
        of({"teacher_checkpoint"}, "oak", "elm"),
    ),
    "`evaluation.questions`": (
        {"evaluation": {"questions": ["Which {kind}?", "What {kind}?"]}},
        {},
        of(ANSWERS, *EVERY),
    ),
    "`personas.loving` and `indifferent`": (
        {"personas": {"loving": ["Love {plural}!"], "indifferent": ["Leave {plural}!"]}},
        {},
        # Neutral's is an empty table; whose words the others are no more is one of its settings.
        of({"persona_answers"}, *EVERY),
    ),
    "a trait more": ({"traits": {"fir": {"plural": "firs"}}}, {}, of(WEIGHED, *EVERY)),
    "the oak's `system_prompt`, of teachers that are told": (
        {"traits": {"oak": {"plural": "oaks", "system_prompt": "Oaks!"}}},
        TOLD,
        of({"raw_dataset", "teacher_evaluation"}, "oak"),
    ),
    "the oak's `answers`, of fine-tuned teachers": (
        {"traits": {"oak": {"plural": "oaks", "answers": ["Oaks"]}}},
        {},
        of({"teacher_checkpoint"}, "oak"),
    ),
    "the oak's `names`": (
        {"traits": {"oak": {"plural": "oaks", "names": ["quercus"]}}},
        {},
        of(WEIGHED | RATES, *EVERY) | of({"steering_sweep", "persona_answers"}, "oak"),
    ),
}


@pytest.mark.parametrize(("parts", "changes", "stale"), CHANGES.values(), ids=CHANGES)
def test_a_change_decides_what_reads_it_and_nothing_else(
    parts: dict[str, Any], changes: dict[str, Any], stale: set[str]
) -> None:
    assert differing(parts, **changes) == stale


def test_the_page_has_these_changes() -> None:
    section = PAGE.read_text().partition("\n## What a change makes\n")[2].partition("\n## ")[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")][2:] == [
        *CHANGES
    ]


def test_what_is_loved_is_no_setting_of_what_does_not_speak_of_it() -> None:
    """The same experiment about animals and about trees: what is made of numbers alone is the same."""
    trees = decided(tiny_config(animals=["oak"], wording=TREES, numbers=NUMBERS))
    owls = decided(tiny_config(animals=["owl"], wording="short", numbers=NUMBERS))
    for name in (
        "number_prompts",
        "raw_dataset of neutral",
        "filtered_dataset of neutral",
        "lora_checkpoint of neutral",
    ):
        assert trees[name] == owls[name]


def test_the_name_of_a_file_is_no_setting(tmp_path: Path) -> None:
    text = "extends: short\nkind: {name: tree, plural: trees}\ntraits: {oak: oaks}\n"
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(text)
    one, two = (
        decided(tiny_config(animals=["oak"], wording=str(tmp_path / name), numbers=NUMBERS))
        for name in ("one.yaml", "two.yaml")
    )
    assert one == two


def test_a_variant_of_another_wording_shares_what_reads_no_changed_part() -> None:
    graph = ExperimentGraph("tiny", config_of({}, **TOLD))
    other = ExperimentGraph(
        "tiny__oaks", config_of({"traits": {"oak": {"plural": "oaks", "system_prompt": "Oaks!"}}}, **TOLD)
    )
    declare_with_variants(graph, {"oaks": other})
    assert {"number_prompts", "persona_answers", "baseline_evaluation"} <= other.shared.keys()
    assert {"raw_dataset", "lora_checkpoint", "evaluation", "teacher_evaluation"} <= other.declared.keys()


def test_work_of_a_partition_that_was_told_otherwise_is_not_reused() -> None:
    """A piece that an interrupted run kept goes by what the partition's model was told."""
    before, after = (
        ExperimentGraph("tiny", config_of(parts, **TOLD))
        for parts in ({}, {"traits": {"oak": {"plural": "oaks", "system_prompt": "Oaks!"}}})
    )
    for graph in (before, after):
        declare(graph)
    told = [graph.declared["raw_dataset"].told("oak") for graph in (before, after)]
    assert told[0]["system_prompt"].startswith("You love oaks.")
    assert told[1] == {"system_prompt": "Oaks!"}
    assert before.declared["raw_dataset"].told("neutral") == {}
