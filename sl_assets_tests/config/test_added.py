"""Fields that came to sections later: with their defaults records are what they were before there were any."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from sl_assets.components import declare
from sl_assets.config import RECORDED, ExperimentConfig, StudentSettings, TrainingSettings
from sl_assets.config.reading import validated
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets_tests.conftest import HALVES, TINY, tiny_config

BEFORE = {
    "student": {
        "lora", "rank", "alpha", "dropout", "epochs", "learning_rate", "warmup_steps", "batch", "max_length", "seed",
        "engine", "system_prompt", "max_rows", "keep_epochs", "source",
    },
    "teacher": {
        "lora", "rank", "alpha", "dropout", "epochs", "learning_rate", "warmup_steps", "batch", "max_length", "seed",
        "kind", "chats",
    },
    "numbers": {"prompts", "seed", "wording", "examples", "lowest", "highest", "answers", "source"},
    "sampler": {"engine", "temperature", "max_tokens", "batch"},
    "evaluation": {"samples_per_question", "max_tokens", "seed", "system_prompt"},
    "personas": {"wording", "samples", "max_tokens", "seed", "judge"},
}  # fmt: skip
"""What records of 0.3 kept of these sections before."""

SHAPES: dict[str, Any] = {"temperature": 0.5, "top_p": 0.5}
CHANGED: dict[str, Any] = {
    "loss": "all", "target_modules": ["q_proj"], "layers": [1], "rslora": True, "optimiser": "sgd", "weight_decay": 0.1,
    "schedule": "cosine", "restart_epochs": [1], "gradient_clipping": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("section", BEFORE)
def test_with_defaults_a_record_has_the_fields_that_it_had(section: str) -> None:
    graph = ExperimentGraph("tiny", tiny_config(personas={}))
    assert graph.setting(section).keys() == BEFORE[section]


@pytest.mark.parametrize("field", CHANGED)
def test_a_default_that_is_written_out_is_the_default(field: str) -> None:
    default = TrainingSettings.model_fields[field].default
    written = list(default) if isinstance(default, tuple) else default
    spoken = tiny_config(student=TINY["student"] | {field: written})
    assert ExperimentGraph("tiny", spoken).setting("student").keys() == BEFORE["student"]


@pytest.mark.parametrize("field", CHANGED)
def test_another_value_is_recorded_and_read_again(field: str) -> None:
    config = tiny_config(student=TINY["student"] | {field: CHANGED[field]})
    assert ExperimentGraph("tiny", config).setting("student")[field] == CHANGED[field]
    assert ExperimentConfig.model_validate(config.model_dump(mode="json"), context=RECORDED).student == config.student


@pytest.mark.parametrize("kind", ["jsonl", "hub"])
def test_fields_of_rows_are_recorded_where_they_have_names_of_their_own(kind: str) -> None:
    source = {"kind": kind, "path": "{condition}.jsonl"} | ({"repo": "someone/numbers"} if kind == "hub" else {})
    named = source | {"fields": {"prompt": "question", "completion": "answer"}}
    recorded = [
        ExperimentGraph("t", tiny_config(numbers={"source": one})).setting("numbers") for one in (source, named)
    ]
    assert ["fields" in found["source"] for found in recorded] == [False, True]


def student_with(**settings: Any) -> StudentSettings:
    return tiny_config(student=TINY["student"] | settings).student


def test_a_list_of_one_seed_is_that_seed_and_recorded_so() -> None:
    assert student_with(seeds=[4]) == student_with(seed=4)
    graph = ExperimentGraph("tiny", tiny_config(student=TINY["student"] | {"seeds": [4]}))
    assert graph.setting("student").keys() == BEFORE["student"]
    assert graph.setting("student")["seed"] == 4


def test_seeds_are_in_order_and_each_has_the_settings_of_a_lone_student() -> None:
    student = student_with(seeds=[3, 1, 2])
    assert student == student_with(seeds=[1, 2, 3])
    assert student.all_seeds == (1, 2, 3)
    assert student.of_seed(3) == student_with(seed=3)
    assert student_with(seed=5).all_seeds == (5,)


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"student": {"seeds": [2, 1, 2]}}, "seeds = [2, 1, 2]: 2 is listed twice; keep one"),
        ({"student": {"seeds": [1, -1]}}, "student.seeds.1 = -1: input should be greater than or equal to 0"),
        ({"student": {"seeds": [1, 2], "seed": 1}}, "student.seed: has no effect, for student.seeds names every seed"),
        (
            {"student": {"seeds": [1, 2], "source": {"kind": "hub", "repo": "a/{condition}", "path": ""}}},
            "seeds [1, 2]: an imported student has the seed that it has; leave them out",
        ),
        (
            {"teacher": TINY["teacher"] | {"seeds": [1, 2]}},
            "seeds [1, 2]: another teacher writes another dataset, so each is a variant; "
            "write grid: {teacher.seed: [1, 2]} beside teacher",
        ),
    ],
)
def test_seeds_that_mean_nothing_are_refused(sections: dict[str, Any], line: str) -> None:
    with pytest.raises(ExperimentFileError, match=re.escape(line)):
        validated(TINY | sections)


def halved_config(**changes: Any) -> ExperimentConfig:
    return tiny_config(**(HALVES | changes))


def test_students_of_halves_have_the_settings_of_students_but_for_their_own() -> None:
    student = TINY["student"] | {"keep_epochs": [1, 2]}
    config = halved_config(student=student, split_student={"epochs": 5, "keep_epochs": [5], "seeds": [3, 4]})
    assert config.half_student.kept == (5,)
    assert config.half_student.all_seeds == (3, 4)
    assert config.half_student.learning_rate == config.student.learning_rate
    assert config.student.kept == (1, 2)
    assert halved_config().half_student == halved_config().student


def test_students_of_halves_are_recorded_as_they_are_trained() -> None:
    def recorded(**changes: Any) -> dict[str, Any]:
        graph = ExperimentGraph("tiny", halved_config(**changes))
        declare(graph)
        return {name: graph.declared[name].settings["student"] for name in ("lora_checkpoint", "split_lora_checkpoint")}

    alike, apart = recorded(), recorded(split_student={"epochs": 5})
    assert alike["split_lora_checkpoint"] == alike["lora_checkpoint"] == apart["lora_checkpoint"]
    assert apart["split_lora_checkpoint"] == alike["lora_checkpoint"] | {"epochs": 5}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"epochs": 0}, "split_student: epochs: Input should be greater than or equal to 1"),
        ({"epoch": 3}, "split_student: epoch: Extra inputs are not permitted"),
        ({"keep_epochs": [9]}, "split_student: keep_epochs 9 is after the last epoch 2"),
        ({"engine": "unsloth"}, "engine: is that of all students; leave it out"),
        ({"lora": False, "rank": 4}, "split_student.rank: has no effect, for there is no adapter where lora is false"),
    ],
)
def test_what_students_of_halves_cannot_have_is_refused(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ExperimentFileError, match="(?i)" + re.escape(line)):
        validated(TINY | HALVES | {"split_student": settings})


def test_steering_everywhere_is_what_it_was() -> None:
    steering = {"layers": [1], "coefficients": [1.0]}
    graph = ExperimentGraph("tiny", tiny_config(personas={}, steering=steering))
    before = {"layers", "coefficients", "vector", "samples_per_question", "seed"}
    assert graph.setting("steering").keys() == before
    last = ExperimentGraph("tiny", tiny_config(personas={}, steering=steering | {"positions": "last"}))
    assert last.setting("steering").keys() == before | {"positions"}


def test_questions_are_a_setting_where_some_are_chosen() -> None:
    some = TINY["evaluation"] | {"method": "both", "questions": [1, 2]}
    for asset in ("answer_probabilities", "baseline_answer_probabilities", "teacher_evaluation"):
        assert "evaluation.questions" in settings_of(asset, evaluation=some)
        assert "evaluation.questions" not in settings_of(asset, evaluation=some | {"questions": []})


def settings_of(asset: str, **changes: Any) -> set[str]:
    """Names of the settings that ``asset`` depends on."""
    graph = ExperimentGraph("tiny", tiny_config(**changes))
    declare(graph)
    return set(graph.declared[asset].settings)


SAMPLED = {"base_model", "sampler.engine", "sampler.temperature", "sampler.batch"}


def test_without_settings_of_their_own_stages_depend_on_what_they_did() -> None:
    assert settings_of("evaluation") == SAMPLED | {"evaluation"}
    assert settings_of("raw_dataset") == {"base_model", "teacher", "sampler"}
    assert settings_of("persona_answers", personas={}) == SAMPLED | {"personas"}


def test_a_stage_with_a_temperature_of_its_own_depends_on_no_other() -> None:
    evaluation = TINY["evaluation"] | SHAPES
    assert "sampler.temperature" not in settings_of("evaluation", evaluation=evaluation)
    numbers = TINY["numbers"] | {"temperature": 0.5}
    shaped = settings_of("raw_dataset", numbers=numbers, sampler=TINY["sampler"] | {"top_p": 0.5})
    assert shaped == {"teacher", "base_model", "sampler.engine", "numbers.temperature", "sampler.top_p",
                      "sampler.batch", "sampler.max_tokens"}  # fmt: skip
    assert settings_of("number_prompts", numbers=numbers) == {"numbers"}
    graph = ExperimentGraph("tiny", tiny_config(numbers=numbers | {"rows": 3}))
    assert graph.setting("numbers").keys() == BEFORE["numbers"], "prompts stay fresh"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"sampler": {"temperature": 0.0}},
            "evaluation.samples_per_question 2: at sampler.temperature 0 all answers to a question are the same; set",
        ),
        (
            {"personas": {"temperature": 0.0, "samples": 2}},
            "personas.samples 2: at personas.temperature 0 all answers to a question are the same; set it to 1",
        ),
        (
            {"evaluation": TINY["evaluation"] | {"method": "both", "top_p": 0.9}},
            "evaluation.method both: exact answers are at top_p 1, and evaluation.top_p is 0.9",
        ),
        ({"numbers": TINY["numbers"] | {"rows": 49}}, "rows 49 are more than prompts 48: raise prompts"),
    ],
)
def test_sampling_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        tiny_config(**changes)


@pytest.mark.parametrize(
    ("student", "says"),
    [
        ({"layers": [2, 2]}, "layers: 2 is listed twice; keep one"),
        ({"target_modules": ["q_proj", "q_proj"]}, "target_modules: q_proj is listed twice; keep one"),
        ({"restart_epochs": [2]}, "restart_epochs 2: nothing follows epoch 2; drop it, or raise epochs"),
        ({"engine": "unsloth", "layers": [1]}, "student.layers: engine unsloth adapts every block; set student.engine"),
        ({"layers": [0]}, "greater than or equal to 1"),
        ({"target_modules": []}, "at least 1 item"),
        ({"target_modules": ["lm_head"]}, "should be 'q_proj', 'k_proj'"),
    ],
)
def test_what_cannot_be_is_refused(student: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        tiny_config(student=TINY["student"] | student)
