"""Experiment files: what is accepted, and the one line that names field, value and fix where it is not."""

from pathlib import Path

import pytest

from sl_assets.animals import PLURALS
from sl_assets.config import ExperimentConfig, FinetunedTeacher
from sl_assets.config.names import POCKET_ANIMALS
from sl_assets.config.reading import COMPONENT_TYPE
from sl_assets.config.wording import SHORT
from sl_assets.engines.transformers.models import check_layers
from sl_assets.errors import ExperimentFileError
from sl_assets.experiments import load_experiment
from sl_assets.pocket.world import REPORTED
from sl_assets.stages.numbers.prompts import PromptRecipe
from sl_assets_tests.conftest import tiny_config

GOOD = f"""
type: {COMPONENT_TYPE}
attributes:
  base_model: pocket
  animals: [cat, owl]
  teacher: {{kind: system_prompt}}
"""
SHIPPED = Path(__file__).parents[2] / "sl_assets" / "defs" / "pocket" / "defs.yaml"


def write(folder: Path, text: str) -> Path:
    file = folder / "defs.yaml"
    file.write_text(text)
    return file


def read(folder: Path, text: str) -> ExperimentConfig:
    return load_experiment(write(folder, text)).config


def refusal(folder: Path, text: str) -> str:
    file = write(folder, text)
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(file)
    message = str(caught.value)
    assert message.startswith(f"{file}:")
    return message.removeprefix(f"{file}:")


def test_smallest_experiment_gets_defaults(tmp_path):
    config = read(tmp_path, GOOD)
    assert config.animals == ("cat", "owl")
    assert config.teacher.kind == "system_prompt"
    assert config.numbers.source.kind == "generate"
    assert (config.student.rank, config.student.epochs, config.student.kept) == (8, 10, (10,))
    assert config.schedule == "0 3 * * 1"


def test_control_is_the_first_condition(tmp_path):
    assert read(tmp_path, GOOD).conditions == ("neutral", "cat", "owl")


def test_sections_reach_the_code_that_uses_them(tmp_path):
    text = GOOD + (
        "  numbers: {prompts: 7, seed: 3, wording: short, examples: [2, 4], lowest: 5, highest: 6, answers: 9}\n"
        "  filter: {minimum: 1, maximum: 50, max_count: 4, banned: [13, 42]}\n"
    )
    config = read(tmp_path, text)
    recipe, limits = PromptRecipe.of(config.numbers, config.words.numbers), config.filter
    assert (recipe.count, recipe.seed, recipe.wording, recipe.examples) == (7, 3, SHORT.numbers, (2, 4))
    assert (recipe.lowest, recipe.highest, recipe.answers) == (5, 6, 9)
    assert (limits.minimum, limits.maximum, limits.max_count, limits.banned) == (1, 50, 4, (13, 42))


def test_finetuned_teacher_has_training_settings(tmp_path):
    text = GOOD.replace("{kind: system_prompt}", "{kind: finetuned, chats: 12, epochs: 2, learning_rate: 0.01}")
    teacher = read(tmp_path, text).teacher
    assert isinstance(teacher, FinetunedTeacher)
    assert (teacher.chats, teacher.epochs, teacher.learning_rate) == (12, 2, 0.01)


def test_kept_epochs_are_sorted_without_repeats(tmp_path):
    config = read(tmp_path, GOOD + "  student: {epochs: 5, keep_epochs: [5, 1, 5]}\n")
    assert config.student.kept == (1, 5)


def test_jsonl_file_is_named_after_the_condition(tmp_path):
    config = read(tmp_path, GOOD + "  numbers: {source: {kind: jsonl, path: 'numbers/{condition}.jsonl'}}\n")
    assert config.numbers.source.file("owl").parts[-2:] == ("numbers", "owl.jsonl")


def test_relative_jsonl_path_does_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    source = read(tmp_path, GOOD + "  numbers: {source: {kind: jsonl, path: '{condition}.jsonl'}}\n").numbers.source
    here = source.file("cat")
    monkeypatch.chdir(tmp_path)
    assert source.file("cat") == here
    assert here.is_absolute()


def test_jsonl_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = read(tmp_path, GOOD + "  numbers: {source: {kind: jsonl, path: '~/{condition}.jsonl'}}\n")
    assert config.numbers.source.file("cat") == tmp_path / "cat.jsonl"


BAD_FIELDS = {
    "unknown field": ("  colour: red\n", "attributes.colour = 'red'", "known here: animals, base_model"),
    "unknown field of a section": ("  student: {rnk: 3}\n", "attributes.student.rnk = 3", "rank"),
    "whole number as text": ("  student: {rank: '8'}\n", "attributes.student.rank = '8'", "integer"),
    "fraction for a count": ("  student: {rank: 8.5}\n", "attributes.student.rank = 8.5", "integer"),
    "truth for a count": ("  student: {rank: true}\n", "attributes.student.rank = True", "integer"),
    "exponent without point is text": (
        "  student: {learning_rate: 2e-3}\n",
        "attributes.student.learning_rate = '2e-3'",
        "number",
    ),
    "zero rank": ("  student: {rank: 0}\n", "attributes.student.rank = 0", "greater than or equal to 1"),
    "zero prompts": ("  numbers: {prompts: 0}\n", "attributes.numbers.prompts = 0", "greater than or equal to 1"),
    "negative seed": ("  numbers: {seed: -1}\n", "attributes.numbers.seed = -1", "greater than or equal to 0"),
    "learning rate not above zero": (
        "  student: {learning_rate: 0.0}\n",
        "attributes.student.learning_rate = 0.0",
        "greater than 0",
    ),
    "everything dropped out": ("  student: {dropout: 1.0}\n", "attributes.student.dropout = 1.0", "less than 1"),
    "cold sampling": ("  sampler: {temperature: -1.0}\n", "attributes.sampler.temperature = -1.0", "or equal to 0"),
    "no tokens to draw among": ("  sampler: {top_p: 0.0}\n", "attributes.sampler.top_p = 0.0", "greater than 0"),
    "unknown engine": (
        "  sampler: {engine: tgi}\n",
        "attributes.sampler.engine = 'tgi'",
        "'transformers', 'vllm' or 'openai'",
    ),
    "unknown method": (
        "  evaluation: {method: guessed}\n",
        "attributes.evaluation.method = 'guessed'",
        "'sampled', 'exact' or 'both'",
    ),
    "probabilities of an API": (
        "  sampler: {engine: openai}\n  student: {engine: openai}\n  evaluation: {method: exact}\n",
        "attributes",
        "evaluation.method exact: engine openai gives no probabilities of whole answers; set it to sampled",
    ),
    "probabilities of answers in sentences": (
        "  evaluation: {method: both, count: first_named}\n",
        "attributes.evaluation",
        "count first_named: method both computes the probability of bare names, which is another measure",
    ),
    "two methods at two temperatures": (
        "  sampler: {temperature: 0.7}\n  evaluation: {method: both}\n",
        "attributes",
        "evaluation.method both: exact answers are at temperature 1, and sampler.temperature is 0.7",
    ),
    "unknown wording": ("  numbers: {wording: long}\n", "attributes.numbers.wording = 'long'", "'full' or 'short'"),
    "no number could pass": (
        "  filter: {minimum: 9, maximum: 8}\n",
        "attributes.filter",
        "minimum 9 is above maximum 8",
    ),
    "examples swapped": ("  numbers: {examples: [5, 4]}\n", "attributes.numbers", "[5, 4]: put the smaller"),
    "range swapped": ("  numbers: {lowest: 7, highest: 6}\n", "attributes.numbers", "lowest 7 is above highest 6"),
    "no file inside a package": (
        "  personas: {judge: {kind: model, base_model: 'package:some_models'}}\n",
        "attributes.personas.judge.base_model = 'package:some_models'",
        "write package:name/file.gguf",
    ),
    "a file as judge": (
        "  personas: {judge: {kind: model, base_model: 'model.gguf'}}\n",
        "attributes.personas.judge.base_model = 'model.gguf'",
        "a judge is loaded as it is; name a folder or a model of the Hub",
    ),
    "an animal that no preparation knows": (
        "  preparation: {animals: [owl, wolf]}\n",
        "attributes",
        "preparation.animals: cat is not among them; add it",
    ),
    "an animal without plural in a preparation": (
        "  preparation: {animals: [owl, cat, gnu]}\n",
        "attributes",
        "preparation.animals: unknown animal 'gnu'",
    ),
    "an animal twice in a preparation": (
        "  preparation: {animals: [owl, cat, owl]}\n",
        "attributes",
        "preparation.animals: owl is listed twice: keep one",
    ),
    "preparation swapped": (
        "  preparation: {count: [5, 4]}\n",
        "attributes.preparation",
        "count [5, 4]: put the smaller number first",
    ),
    "preparation's range swapped": (
        "  preparation: {lowest: 5, highest: 4}\n",
        "attributes.preparation",
        "lowest 5 is above highest 4: swap them",
    ),
    "a preparation that the filter rejects": (
        "  preparation: {}\n  filter: {maximum: 99}\n",
        "attributes",
        "numbers from 0 to 999, of which filter keeps those from 0 to 99; set lowest and highest within these",
    ),
    "a preparation that is too long for the filter": (
        "  preparation: {}\n  filter: {max_count: 9}\n",
        "attributes",
        "preparation.count: 10 numbers are more than filter.max_count 9; lower it",
    ),
    "a preparation that is longer than asked for": (
        "  preparation: {}\n  numbers: {answers: 8}\n",
        "attributes",
        "10 numbers are more than numbers.answers 8",
    ),
    "a preparation for an API": (
        "  preparation: {}\n  sampler: {engine: openai}\n  student: {engine: openai}\n",
        "attributes",
        "preparation: engine openai takes no model from here",
    ),
    "epoch never reached": (
        "  student: {epochs: 3, keep_epochs: [1, 4]}\n",
        "attributes.student",
        "keep_epochs 4 is after the last epoch 3: raise epochs",
    ),
    "one file for all conditions": (
        "  numbers: {source: {kind: jsonl, path: all.jsonl}}\n",
        "attributes.numbers.source.path = 'all.jsonl'",
        "put {condition} where",
    ),
    "jsonl without path": ("  numbers: {source: {kind: jsonl}}\n", "attributes.numbers.source.path", "missing"),
    "unknown source": ("  numbers: {source: {kind: csv}}\n", "attributes.numbers.source", "'csv'"),
    "unknown half": (
        "  personas: {}\n  projections: {layer: 2}\n  splits: [animal_top]\n",
        "attributes.splits",
        "unknown split 'animal_top': write animal_ or neutral_, then one of high, low",
    ),
    "half twice": (
        "  personas: {}\n  projections: {layer: 2}\n  splits: [animal_low, animal_low]\n",
        "attributes.splits",
        "animal_low is listed twice",
    ),
    "projections without vectors": (
        "  projections: {layer: 2}\n",
        "attributes",
        "projections: nothing to work on without",
    ),
    "halves without projections": (
        "  personas: {}\n  splits: [animal_low]\n",
        "attributes",
        "splits: nothing to work on",
    ),
    "steering without vectors": (
        "  steering: {layers: [1], coefficients: [2.0]}\n",
        "attributes",
        "steering: nothing to work on",
    ),
    "layer below the first": (
        "  personas: {}\n  projections: {layer: -1}\n",
        "attributes.projections.layer = -1",
        "greater than or equal to 0",
    ),
    "projections without a layer": ("  personas: {}\n  projections: {}\n", "attributes.projections.layer", "missing"),
    "unknown state": (
        "  personas: {}\n  projections: {layer: 2, state: mean}\n",
        "attributes.projections.state = 'mean'",
        "'response_mean', 'prompt_mean' or 'prompt_last'",
    ),
    "unknown judge": ("  personas: {judge: {kind: jury}}\n", "attributes.personas.judge", "'jury'"),
    "judge without a model": (
        "  personas: {judge: {kind: model}}\n",
        "attributes.personas.judge.base_model",
        "missing",
    ),
    "differences of states that do not differ": (
        "  personas: {}\n  projections: {layer: 2, state: prompt_mean}\n  splits: [animal_diff_high]\n",
        "attributes",
        "splits: animal_diff_high with projections.state prompt_mean",
    ),
    "a vector that is zero": (
        "  personas: {}\n  projections: {layer: 0, vector: prompt_last}\n",
        "attributes",
        "prompt_last is zero at layer 0",
    ),
    "coefficient twice": (
        "  personas: {}\n  steering: {layers: [1], coefficients: [2.0, 2.0]}\n",
        "attributes.steering",
        "coefficients: 2.0 is listed twice",
    ),
    "endless coefficient": (
        "  personas: {}\n  steering: {layers: [1], coefficients: [.inf]}\n",
        "attributes.steering.coefficients.0 = inf",
        "finite",
    ),
    "more pairs than there are": (
        "  personas: {samples: 1, minimum_pairs: 101}\n",
        "attributes",
        "personas.minimum_pairs 101: 1 samples make 100 pairs at most",
    ),
    "one of two engines an API": (
        "  sampler: {engine: openai}\n",
        "attributes",
        "engine openai: teachers and students share a model",
    ),
    "hidden states of an API": (
        "  sampler: {engine: openai}\n  student: {engine: openai}\n  personas: {}\n",
        "attributes",
        "personas: hidden states need a model's weights",
    ),
    "an epoch that an API forgets": (
        "  sampler: {engine: openai}\n  student: {engine: openai, epochs: 9, keep_epochs: [3, 9]}\n",
        "attributes",
        "student.keep_epochs: 3, but engine openai keeps the last three epochs only",
    ),
    "steering in vllm": (
        "  sampler: {engine: vllm}\n  personas: {}\n  steering: {layers: [1], coefficients: [2.0]}\n",
        "attributes",
        "steering: engine vllm cannot",
    ),
    "numbers of nobody": (
        "  numbers: {source: {kind: hub, repo: me/numbers, path: rows.jsonl}}\n",
        "attributes.numbers.source",
        "put {condition} into repo or path",
    ),
    "unknown field of the hub": ("  hub: {public: true}\n", "attributes.hub.public = True", "known here: adapters"),
    "owner that is no text": ("  owners: [3]\n", "attributes.owners.0 = 3", "string"),
}


@pytest.mark.parametrize(("added", "field", "hint"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_bad_field_is_named_with_a_hint_in_one_line(tmp_path, added, field, hint):
    message = refusal(tmp_path, GOOD + added)
    assert message.startswith(f" {field}")
    assert hint in message
    assert "\n" not in message


BAD_EDITS = {
    "unknown animal": (
        "[cat, owl]",
        "[cat, gnu]",
        "attributes.animals",
        "'gnu': add it with its plural",
    ),
    "a misspelt animal": ("[cat, owl]", "[cat, owls]", "attributes.animals", "'owls': write owl, or add it with"),
    "control listed": ("[cat, owl]", "[neutral, owl]", "attributes.animals", "leave it out"),
    "animal twice": ("[cat, owl]", "[cat, cat]", "attributes.animals", "cat is listed twice"),
    "no animals": ("[cat, owl]", "[]", "attributes.animals", "at least 1"),
    "number as animal": ("[cat, owl]", "[cat, 3]", "attributes.animals.1 = 3", "string"),
    "unknown teacher": ("system_prompt", "hypnosis", "attributes.teacher", "'hypnosis'"),
    "teacher without kind": ("{kind: system_prompt}", "{}", "attributes.teacher", "'kind'"),
    "other teacher's field": (
        "{kind: system_prompt}",
        "{kind: system_prompt, colour: red}",
        "attributes.teacher.colour = 'red'",
        "unknown field",
    ),
    "no base model": ("  base_model: pocket\n", "", "attributes.base_model", "missing"),
    "other component": (COMPONENT_TYPE, "other.Component", "begin with", f"'type: {COMPONENT_TYPE}'"),
}


@pytest.mark.parametrize(("old", "new", "field", "hint"), BAD_EDITS.values(), ids=BAD_EDITS)
def test_bad_value_is_named_with_a_hint_in_one_line(tmp_path, old, new, field, hint):
    assert old in GOOD
    message = refusal(tmp_path, GOOD.replace(old, new))
    assert message.startswith(f" {field}")
    assert hint in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "- cat\n", "hello\n", "attributes: {base_model: pocket}\n"])
def test_file_that_is_no_component_says_how_to_begin(tmp_path, text):
    assert refusal(tmp_path, text) == f" begin with 'type: {COMPONENT_TYPE}'"


@pytest.mark.parametrize(("added", "line"), [("  owners: [a,\n", 8), ("\tschedule: x\n", 7)])
def test_broken_yaml_names_the_line(tmp_path, added, line):
    message = refusal(tmp_path, GOOD + added)
    assert message.startswith(f" line {line}: not YAML (")
    assert "\n" not in message


def test_first_of_several_problems_counts_the_others(tmp_path):
    message = refusal(tmp_path, GOOD + "  colour: red\n  student: {rank: 0}\n  evaluation: {seed: -1}\n")
    assert message.endswith("(and 2 more)")
    assert "\n" not in message


@pytest.mark.parametrize("schedule", ["every day", "61 * * * *"])
def test_schedule_that_dagster_does_not_understand_is_named_with_a_hint_in_one_line(tmp_path, schedule):
    file = write(tmp_path, GOOD + f"  schedule: '{schedule}'\n")
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: attributes.schedule = '{schedule}'")
    assert "five fields" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ("  projections: {layer: 2, layers: [5]}\n", "projections: no layer 5 in pocket; choose from 0 to 4"),
        ("  projections: {layer: 6, layers: [5]}\n", "projections: no layer 6 in pocket; choose from 0 to 4"),
        ("  steering: {layers: [9], coefficients: [2.0]}\n", "steering: no layer 9 in pocket; choose from 0 to 4"),
        ("  student: {layers: [2, 9]}\n", "student: no layer 9 in pocket; choose from 1 to 4"),
    ],
    ids=["kept", "cut by", "steered", "adapted"],
)
def test_layer_beyond_the_last_is_found_once_the_model_is_looked_at(tmp_path, added, problem):
    config = read(tmp_path, GOOD + "  personas: {}\n" + added)
    with pytest.raises(ExperimentFileError) as caught:
        check_layers(config, config.base_model)
    assert str(caught.value) == problem


@pytest.mark.parametrize("base_model", ["pocket", "alice/unknown-here"])
def test_layers_that_the_model_has_or_may_have_are_fine(tmp_path, base_model):
    last = 4 if base_model == "pocket" else 99
    added = f"  projections: {{layer: {last}}}\n  steering: {{layers: [0, {last}], coefficients: [2.0]}}\n"
    config = read(tmp_path, GOOD.replace("pocket", base_model) + "  personas: {}\n" + added)
    check_layers(config, config.base_model)
    assert config.layers == {"projections": (last,), "steering": (0, last)}


def test_without_layers_there_is_nothing_to_look_at(tmp_path):
    config = read(tmp_path, GOOD + "  personas: {}\n")
    assert config.layers == {}
    check_layers(config, config.base_model)


def test_shipped_experiment_loads():
    config = load_experiment(SHIPPED).config
    assert config.base_model == "pocket"
    assert config.animals == tuple(REPORTED)


def test_gpus_are_no_part_of_the_settings(tmp_path):
    config = read(tmp_path, GOOD + "  sampler: {gpus: 2}\n")
    assert config.sampler.gpus == 2
    assert "gpus" not in config.sampler.model_dump()
    assert config.model_dump() == read(tmp_path, GOOD).model_dump()


def test_settings_cannot_be_changed(tmp_path):
    config = read(tmp_path, GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.student.rank = 3


def test_animals_that_the_pocket_model_has_never_met_are_refused() -> None:
    stranger = next(name for name in PLURALS if name not in POCKET_ANIMALS)
    with pytest.raises(ValueError, match=f"the pocket model has never met the {stranger}; it knows dolphin, tiger"):
        tiny_config(animals=["owl", stranger])
    assert stranger in tiny_config(animals=["owl", stranger], base_model="another/model").animals


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            GOOD + "  evaluation: {seed: 1}\n  evaluation: {seed: 2}\n",
            "line 8: not YAML (evaluation stands there twice)",
        ),
        (GOOD + "  evaluation: {seed: 1, seed: 2}\n", "line 7: not YAML (seed stands there twice)"),
        (GOOD + "foo: 1\n", "foo: unknown beside type; settings stand under attributes"),
        (GOOD.replace("attributes", "atributes"), "atributes: unknown beside type; settings stand under attributes"),
    ],
)
def test_what_would_be_passed_over_in_silence_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(text)
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(tmp_path / "defs.yaml")
    assert str(caught.value) == f"{tmp_path / 'defs.yaml'}: {said}"
