"""Settings that have no effect beside others are refused, field by field; where they have one they are accepted."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from sl_assets.config import RECORDED, ExperimentConfig
from sl_assets.config.reading import COMPONENT_TYPE
from sl_assets.config.unused import UNUSED
from sl_assets.errors import ExperimentFileError
from sl_assets.experiments import load_experiment

BASE: dict[str, Any] = {"base_model": "someone/model", "animals": ["owl"], "teacher": {"kind": "system_prompt"}}
FINETUNED: dict[str, Any] = {"teacher": {"kind": "finetuned"}}
FILES = {"kind": "hub", "repo": "someone/{condition}", "path": "x"}
NUMBERS: dict[str, Any] = {"numbers": {"source": FILES}}
JSONL: dict[str, Any] = {"numbers": {"source": {"kind": "jsonl", "path": "{condition}.jsonl"}}}
OTHER: dict[str, Any] = {"numbers": {"source": {"kind": "experiment", "name": "other"}}}
STUDENTS: dict[str, Any] = {"student": {"source": FILES}}
API: dict[str, Any] = {"sampler": {"engine": "openai"}, "student": {"engine": "openai"}}
FULL: dict[str, Any] = {"student": {"lora": False}}
VECTORS: dict[str, Any] = {"personas": {}, "projections": {"layer": 2}}
VLLM: dict[str, Any] = {"sampler": {"engine": "vllm"}}
FORMS: dict[str, Any] = {"preparation": {"count": [1, 1]}}
HALVES: dict[str, Any] = VECTORS | {"splits": ["animal_high"]}

EXACT: dict[str, Any] = {"evaluation": {"method": "exact"}}
STEERED: dict[str, Any] = {"personas": {}, "steering": {"layers": [2], "coefficients": [1.0]}}
UNEQUAL: dict[str, Any] = HALVES | {"projections": {"layer": 2, "equal_halves": False}}
VALUES: dict[str, Any] = {
    "memory_share": 0.5, "compiled": True, "lora": True, "dropout": 0.1, "learning_rate": 0.1, "wording": "short",
    "examples": [1, 2], "highest": 2000, "system_prompt": "Hello.", "engine": "unsloth", "equal_halves": True,
    "private": True, "prefix": "x", "strata": ["count"], "license": "mit", "transform": "shuffle_within_rows",
    "loss": "all", "target_modules": ["q_proj"], "layers": [2], "rslora": True, "optimiser": "sgd",
    "temperature": 0.5, "top_p": 0.5, "gpu_kind": "H100",
    "schedule": "cosine", "restart_epochs": [1], "gradient_clipping": 0.5,
}  # fmt: skip
"""What a field is set to, where that is no whole number."""

FLAT: dict[str, Any] = {"schedule": "constant", "warmup_steps": 0}
NEW_IN_TRAINING = "loss target_modules layers rslora optimiser weight_decay schedule restart_epochs gradient_clipping"

OWN: dict[str, Any] = {
    "numbers": {"temperature": 0.7, "top_p": 0.7},
    "evaluation": {"temperature": 0.7, "top_p": 0.7},
}
GREEDY: dict[str, Any] = {
    "sampler": {"temperature": 0.0},
    "evaluation": {"samples_per_question": 1},
}

LITERAL: dict[str, Any] = {"wording": {"extends": "full", "numbers": {"prompts": ["Write ten numbers."]}}}

CASES = [
    # Section, fields, where they have no effect, where they have.
    ("sampler", "memory_share compiled max_num_seqs max_length max_lora_rank", {}, VLLM),
    ("sampler", "memory_share max_length", API, VLLM),
    ("schedule_limits", "gpu_minutes", API, {}),
    ("sampler", "gpus gpu_kind", API, {}),
    ("sampler", "gpu_kind", {"sampler": {"gpus": 0}}, {}),
    ("sampler", "max_lora_rank", FULL | VLLM, VLLM),
    (
        "sampler",
        "max_lora_rank",
        FULL | VLLM,
        FULL | FINETUNED | VLLM,
    ),
    ("sampler", "max_tokens", NUMBERS, {}),
    ("teacher", "chats lora rank alpha epochs learning_rate batch seed", NUMBERS | FINETUNED, FINETUNED),
    ("teacher", "lora rank alpha dropout learning_rate warmup_steps batch max_length", API | FINETUNED, FINETUNED),
    ("teacher", "rank alpha dropout", {"teacher": {"kind": "finetuned", "lora": False}}, FINETUNED),
    ("teacher", "layers target_modules rslora", {"teacher": {"kind": "finetuned", "lora": False}}, FINETUNED),
    ("teacher", NEW_IN_TRAINING, API | FINETUNED, FINETUNED),
    ("teacher", "restart_epochs", {"teacher": {"kind": "finetuned"} | FLAT}, FINETUNED),
    ("numbers", "prompts seed wording examples lowest highest answers", NUMBERS, {}),
    ("numbers", "prompts seed", JSONL, {}),
    ("numbers", "wording examples lowest highest answers", NUMBERS, NUMBERS | FORMS),
    ("numbers", "wording", {"wording": "full"}, {}),
    ("numbers", "examples highest answers", LITERAL, {"wording": "full"}),
    ("personas", "wording", {"wording": "full"} | VECTORS, VECTORS),
    ("numbers", "transform", STUDENTS, {}),
    ("numbers", "transform", STUDENTS | NUMBERS, STUDENTS | NUMBERS | VECTORS),
    ("checks", "independence", {}, FORMS),
    ("checks", "shared_prompts", OTHER, {}),
    ("student", "lora rank alpha dropout learning_rate warmup_steps batch max_length", API, {}),
    ("student", "rank alpha dropout layers target_modules rslora", FULL, {}),
    ("student", NEW_IN_TRAINING, API, {}),
    ("student", NEW_IN_TRAINING, STUDENTS, STUDENTS | HALVES),
    ("student", "restart_epochs", {"student": FLAT}, {"student": FLAT | {"warmup_steps": 1}}),
    ("student", "lora rank learning_rate batch max_length seed max_rows", STUDENTS, STUDENTS | HALVES),
    ("student", "seed", {"student": {"seeds": [1, 2]}}, {}),
    ("student", "engine", STUDENTS, STUDENTS | FINETUNED),
    ("evaluation", "samples_per_question", EXACT, {}),
    ("evaluation", "samples_per_question", EXACT | NUMBERS, {"evaluation": {"method": "both"}}),
    ("evaluation", "max_tokens seed", EXACT | NUMBERS, EXACT),
    ("evaluation", "max_tokens", EXACT | NUMBERS | {"personas": {}}, EXACT | NUMBERS | STEERED),
    ("sampler", "temperature top_p batch", EXACT | NUMBERS, NUMBERS),
    ("sampler", "temperature", OWN, {}),
    ("sampler", "temperature", OWN | NUMBERS | {"numbers": {"source": FILES}}, OWN | {"personas": {}}),
    ("sampler", "top_p", OWN, {"numbers": {"temperature": 0.0}}),
    ("sampler", "top_p", GREEDY, OWN | {"personas": {}}),
    ("numbers", "temperature top_p rows", NUMBERS, {}),
    ("numbers", "temperature top_p rows", NUMBERS | FORMS, {}),
    ("numbers", "top_p", {"numbers": {"temperature": 0.0}}, {"numbers": {"temperature": 0.1}}),
    ("evaluation", "top_p", GREEDY, {}),
    ("personas", "top_p", {"personas": {"temperature": 0.0, "samples": 1}}, {"personas": {}}),
    ("evaluation", "temperature top_p", EXACT | NUMBERS, EXACT),
    ("sampler", "batch", EXACT | NUMBERS, EXACT),
    ("sampler", "temperature batch", EXACT | NUMBERS, EXACT | NUMBERS | {"personas": {}}),
    ("checks", "cut_answers", EXACT, {"evaluation": {"method": "both"}}),
    ("checks", "uncounted_answers", EXACT, {"evaluation": {"method": "both"}}),
    ("checks", "uncounted_answers", {"evaluation": {"count": "mention"}}, {}),
    ("personas", "threshold", {"personas": {}}, {"personas": {"judge": {"kind": "model", "base_model": "any/model"}}}),
    ("projections", "equal_halves seed", VECTORS, HALVES),
    ("split_student", "", {}, HALVES),
    ("projections", "strata", HALVES | {"splits": ["animal_positive"]}, HALVES),
    ("projections", "seed", UNEQUAL, UNEQUAL | {"splits": ["animal_random"]}),
    ("chat_template", "", API, {}),
    ("openai", "", {}, API),
    ("openai", "concurrency", API | {"openai": {"batch_api": True}}, API),
    ("hub", "private prefix license", {"hub": {"datasets": False, "adapters": False}}, {"hub": {"datasets": False}}),
]
ONE_BY_ONE = [(section, field, *cases) for section, fields, *cases in CASES for field in fields.split() or [""]]


def given(section: str, field: str, among: dict[str, Any]) -> dict[str, Any]:
    settings = BASE | among
    added = {field: VALUES.get(field, 1)} if field else {}
    return settings | {section: settings.get(section, {}) | added}


@pytest.mark.parametrize(("section", "field", "idle", "used"), ONE_BY_ONE)
def test_what_has_no_effect_is_refused_by_name(
    section: str, field: str, idle: dict[str, Any], used: dict[str, Any]
) -> None:
    settings = given(section, field, idle)
    with pytest.raises(ValidationError) as caught:
        ExperimentConfig.model_validate(settings)
    (problem,) = caught.value.errors()
    name = f"{section}.{field}" if field else section
    assert problem["msg"].startswith(f"Value error, {name}: has no effect, for ")
    assert problem["msg"].endswith(": leave it out")
    ExperimentConfig.model_validate(BASE | idle)
    ExperimentConfig.model_validate(given(section, field, used))


def test_every_row_names_fields_that_there_are_and_has_a_case() -> None:
    for section, fields, _, _ in UNUSED:
        tested = {field for name, field, *_ in ONE_BY_ONE if name == section}
        assert tested & set(fields) or (not fields and "" in tested), (section, fields)
    configs = [ExperimentConfig.model_validate(BASE | among) for among in (FINETUNED, HALVES, {"hub": {}}, API)]
    for section, fields, _, _ in UNUSED:
        there = {name for config in configs if (found := getattr(config, section)) for name in type(found).model_fields}
        assert set(fields) <= there, section


def test_the_line_names_file_and_every_field(tmp_path: Any) -> None:
    file = tmp_path / "defs.yaml"
    settings = BASE | API | {"student": {"engine": "openai", "rank": 8, "epochs": 2, "learning_rate": 0.1}}
    file.write_text(yaml.safe_dump({"type": COMPONENT_TYPE, "attributes": settings}))
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(file)
    assert str(caught.value) == (
        f"{file}: attributes: student.rank: has no effect, for engine openai chooses it: leave it out; "
        "student.learning_rate: has no effect, for engine openai chooses it: leave it out"
    )


def test_what_a_record_tells_has_every_default_written_out_and_is_no_mistake() -> None:
    config = ExperimentConfig.model_validate(BASE | NUMBERS)
    with pytest.raises(ValidationError, match="has no effect"):
        ExperimentConfig.model_validate(config.model_dump(mode="json"))
    assert ExperimentConfig.model_validate(config.model_dump(mode="json"), context=RECORDED) == config


@pytest.mark.parametrize("missing", ["input_price", "output_price", "training_price"])
def test_a_cap_needs_every_price(missing: str) -> None:
    prices = {"input_price": 1.0, "output_price": 1.0, "training_price": 0.0}
    settings = BASE | API | {"openai": {"spending_cap": 5.0} | prices}
    assert ExperimentConfig.model_validate(settings).openai.spending_cap == 5.0
    del settings["openai"][missing]
    with pytest.raises(ValidationError, match=rf"openai\.spending_cap: counts nothing without {missing}; add it"):
        ExperimentConfig.model_validate(settings)
