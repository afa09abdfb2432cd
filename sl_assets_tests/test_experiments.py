"""Folders of experiments: whichever folder one lies in, Dagster's loader gives the same, and its mistakes are lines."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from sl_assets.components import DEFS
from sl_assets.definitions import defs, surroundings
from sl_assets.errors import ExperimentFileError
from sl_assets.experiments import find_experiments, load_experiment
from sl_assets_tests.conftest import TINY

TYPE = "sl_assets.SubliminalExperiment"


def write(folder: Path, attributes: Mapping[str, Any] = TINY, **sections: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "defs.yaml"
    file.write_text(yaml.safe_dump({"type": TYPE, "attributes": dict(attributes), **sections}))
    return file


def refusal(file: Path) -> str:
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(file).check(surroundings())
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


def test_templates_are_filled_in_and_other_text_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED_OF_A_TEST", "7")
    attributes = TINY | {
        "numbers": TINY["numbers"] | {"seed": "{{ env('SEED_OF_A_TEST') }}"},
        "base_model": "{{ env.MODEL_OF_A_TEST or 'pocket' }}",
        "student": TINY["student"] | {"system_prompt": "8\n"},
    }
    config = load_experiment(write(tmp_path / "mine", attributes)).config
    assert (config.numbers.seed, config.base_model, config.student.system_prompt) == (7, "pocket", "8\n")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ env.NOT_THERE }}", "comes to nothing; set what it names, in the environment or in .env"),
        ("{{ env('NOT_THERE') }}", "Environment variable NOT_THERE is not set"),
        ("{{ nothing }}", "'nothing' not found in scope"),
        ("{{ env", "unexpected end of template"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_one_line(tmp_path: Path, template: str, problem: str) -> None:
    said = refusal(write(tmp_path / "mine", TINY | {"base_model": template}))
    assert said.startswith(f"attributes.base_model = {template!r}: ")
    assert problem in said


def test_templates_may_come_from_a_module_beside_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "mine", TINY | {"base_model": "{{ model }}"}, template_vars_module=".variables")
    beside = file.parent / "variables.py"
    beside.write_text("import dagster as dg\n\n@dg.template_var\ndef model():\n    return 'pocket'\n")
    assert load_experiment(file).config.base_model == "pocket"
    other = write(tmp_path / "other", TINY | {"base_model": "{{ model }}"}, template_vars_module=".variables")
    (other.parent / "variables.py").write_text(
        "import dagster as dg\n\n@dg.template_var\ndef model():\n    return {}[1]\n"
    )
    assert refusal(other) == "KeyError: 1"


def test_definitions_are_post_processed_as_the_file_says(tmp_path: Path) -> None:
    tagged = {"assets": [{"target": "*", "attributes": {"tags": {"team": "owls"}}}]}
    experiment = load_experiment(write(tmp_path / "mine", post_processing=tagged))
    specs = dg.Definitions.merge(experiment.definitions, surroundings()).resolve_all_asset_specs()
    assert {spec.tags["team"] for spec in specs} == {"owls"}
    assert {spec.key.path[0] for spec in specs} == {"mine"}
    assert set(experiment.graph.declared) == {spec.key.path[1] for spec in specs}


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        (
            {"post_processing": {"assets": [{"target": "*", "attributes": {"tag": {}}}]}},
            "post_processing.assets.0.attributes.tag = {}: Extra inputs are not permitted",
        ),
        (
            {"post_processing": {"assets": [{"target": "*", "attributes": {"owners": ["me"]}}]}},
            "DagsterInvalidDefinitionError: Invalid owner 'me'",
        ),
        (
            {"requirements": {"envs": ["X"]}},
            "AttributeError: 'ComponentRequirementsModel' object has no attribute 'envs'",
        ),
        (
            {"template_vars_module": ".nowhere"},
            "ModuleNotFoundError: No module named 'sl_assets_experiments.mine.nowhere'",
        ),
    ],
    ids=["unknown field", "refused value", "unknown requirement", "no module"],
)
def test_what_dagster_says_of_a_file_is_one_line(tmp_path: Path, sections: dict[str, Any], problem: str) -> None:
    assert refusal(write(tmp_path / "mine", **sections)).startswith(problem)


def test_a_mistake_of_ours_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("sl_assets.components.check_schedule", broken)
    # Raised in this file, it would be a user's; the frame that counts is the innermost.
    monkeypatch.setattr("sl_assets.experiments.PACKAGE", Path(__file__).parent)
    with pytest.raises(Exception, match="Error while loading component") as caught:
        load_experiment(write(tmp_path / "mine"))
    assert not isinstance(caught.value, ExperimentFileError)


def test_folders_that_hold_no_experiment_are_told_from_those_that_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SL_EXPERIMENTS", str(tmp_path))
    write(tmp_path / "mine")
    write(tmp_path / "my-exp")
    (write(tmp_path / "renamed")).rename(tmp_path / "renamed" / "defs.yml")
    (tmp_path / "empty").mkdir()
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "owl.jsonl").write_text("")
    (tmp_path / "loose.yaml").write_text("")
    found = find_experiments()
    loaded = {name for name, experiment in found.loaded.items() if experiment.variant is None}
    assert loaded == {
        "gpt41_nano",
        "olmo3_7b",
        "pocket",
        "pocket_ranks",
        "pocket_seeds",
        "qwen25_14b",
        "qwen25_7b",
        "smollm2_135m",
        "mine",
    }
    assert {name: str(problem) for name, problem in found.problems.items()} == {
        "my-exp": f"{tmp_path}/my-exp/defs.yaml: the folder's name 'my-exp' names the experiment, which may have "
        "letters, digits and '_': rename it, to 'my_exp' for example",
        "renamed": f"{tmp_path}/renamed/defs.yml: is not read under this name; rename it to defs.yaml",
        "empty": f"{tmp_path}/empty: an empty folder is no experiment; add defs.yaml, or remove it",
        "loose.yaml": f"{tmp_path}/loose.yaml: no experiment; move it to {tmp_path}/loose/defs.yaml",
    }


@pytest.mark.parametrize("inside", [True, False], ids=["names an experiment", "names nothing"])
def test_a_variable_that_names_no_folder_of_experiments_says_which_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    named = write(tmp_path / "mine").parent if inside else tmp_path / "nowhere"
    monkeypatch.setenv("SL_EXPERIMENTS", str(named))
    found = find_experiments()
    above = f"names an experiment; name the folder above, {tmp_path}"
    fix = above if inside else f"no such folder ({named}); name a folder that holds"
    assert str(found.problems["SL_EXPERIMENTS"]).startswith(f"SL_EXPERIMENTS = {str(named)!r}: {fix}")
    assert "pocket" in found.loaded


def test_the_projects_own_folder_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SL_EXPERIMENTS", str(DEFS))
    assert not find_experiments().problems


def test_in_the_ui_a_broken_experiment_is_an_asset_that_says_why(
    experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_folder("other one")
    folder = experiment_folder("other-one", filter={"max_cuont": 3})
    monkeypatch.setenv("SL_EXPERIMENTS", str(folder))
    loaded = defs()
    dg.Definitions.validate_loadable(loaded)
    specs = {spec.key.to_user_string(): spec for spec in loaded.resolve_all_asset_specs()}
    assert "pocket/number_prompts" in specs
    broken = specs["other_one/cannot_be_loaded"]
    assert broken.group_name == "other_one"
    assert f"{folder}/other-one/defs.yaml: the folder's name 'other-one'" in (broken.description or "")
    asset = loaded.resolve_assets_def(broken.key)
    result = dg.materialize([asset], raise_on_error=False)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    data = failure.step_failure_data.user_failure_data
    assert data
    assert "rename it, to 'other_one'" in (data.description or "")


def test_python_files_beside_the_experiments_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("import dagster as dg\n\n@dg.asset\ndef mine():\n    pass\n")
    monkeypatch.setattr("sl_assets.definitions.DEFS", tmp_path)
    monkeypatch.setattr("sl_assets.defs.__path__", [str(tmp_path)])
    assert dg.AssetKey(["mine"]) in {spec.key for spec in defs().resolve_all_asset_specs()}


def test_an_experiment_one_folder_too_deep_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "inner").mkdir(parents=True)
    (tmp_path / "mine" / "inner" / "defs.yaml").write_text("type: sl_assets.SubliminalExperiment\n")
    monkeypatch.setenv("SL_EXPERIMENTS", str(tmp_path))
    assert "lies one folder too deep; move" in str(find_experiments().problems["mine"])


def test_a_stray_file_beside_good_experiments_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good").mkdir()
    shutil.copy(DEFS / "pocket" / "defs.yaml", tmp_path / "good" / "defs.yaml")
    shutil.copy(DEFS / "pocket" / "defs.yaml", tmp_path / "defs.yaml")
    monkeypatch.setenv("SL_EXPERIMENTS", str(tmp_path))
    found = find_experiments()
    assert "good" in found.loaded
    assert "no experiment; move it to" in str(found.problems["defs.yaml"])
