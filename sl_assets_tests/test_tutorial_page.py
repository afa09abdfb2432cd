"""docs/tutorial.md: its commands are valid, the cheap ones run, and its outputs are of the run that was recorded."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sl_assets.cli.commands import cli
from sl_assets.experiments import load_experiment
from sl_assets.lake.lake import Lake
from sl_assets.lake.views import query
from sl_assets_tests.cli.command import run_forked
from sl_assets_tests.tutorial import FILE, PAGE, changed, code_versions, recorded, steps, words

TEXT = PAGE.read_text(encoding="utf-8")
STEPS = list(steps(TEXT))
COMMANDS = [step for step in STEPS if step.command.startswith("sl-assets")]
FILES = list(dict.fromkeys(step.file for step in STEPS if step.file))
AGAIN = "make tutorial records it anew"


@pytest.mark.parametrize("step", COMMANDS, ids=lambda step: step.command[:40])
def test_every_command_is_one(step: Any) -> None:
    name, *arguments = words(step.command)
    command = cli.commands[name]
    if name == "wording":
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(name, arguments)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.splitlines()[-1])
def test_every_state_of_the_file_is_an_experiment(file: str, tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(file)
    assert load_experiment(tmp_path / "defs.yaml").config.animals == ("penguin",)


def test_a_change_changes_one_setting() -> None:
    before, *after = (yaml.safe_load(file)["attributes"] for file in FILES)
    assert len(after) == 2
    for one, other in zip([before, *after], after, strict=False):
        assert sum(one[name] != other[name] for name in one) == 1
    with pytest.raises(AssertionError):
        changed(FILES[0], "  nothing: 1\n")


def test_outputs_are_those_of_the_recorded_run() -> None:
    assert [step.output for step in STEPS if step.output is not None] == recorded()["outputs"], AGAIN


def test_the_recorded_run_is_of_the_code_as_it_is(tmp_path: Path) -> None:
    assert recorded()["code"] == code_versions(FILES[-1], tmp_path), (
        f"the tutorial's figures are of other code; {AGAIN}"
    )


def test_figures_in_the_text_are_those_of_the_run() -> None:
    (summary, *_) = [step.output for step in COMMANDS if step.command == "sl-assets run penguin"]
    header, row = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in summary.splitlines()
        if line.startswith("| animal ") or line.startswith("| penguin")
    ]
    cells = dict(zip(header, row, strict=True))
    said = " ".join(TEXT.split())
    for name, words_after in (("baseline", "of answers, the student of neutral"), ("neutral", "the penguin's student")):
        assert re.search(rf"{100 * float(cells[name]):.1f}%,? {re.escape(words_after)}", said), name
    assert f"in {100 * float(cells['rate']):.1f}%, {float(cells['ratio']):.1f} times as often" in said


def test_what_is_cheap_is_said_anew(environment: dict[str, str], tmp_path: Path) -> None:
    """Before anything is made."""
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_text(FILES[0])
    own = environment | {"SL_EXPERIMENTS": str(tmp_path / "my_experiments"), "SL_DATA_LAKE": str(tmp_path / "lake")}
    first = [step for step in COMMANDS if step.file == FILES[0]]
    for step in first:
        if "--dry-run" in step.command or step.command.startswith("sl-assets wording"):
            assert rstripped(run_forked(own, *words(step.command)).stdout) == step.output, step.command
    said = run_forked(own, "check").stdout
    assert [line for line in said.splitlines() if line.startswith("penguin")] == first[0].output.splitlines()


def rstripped(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_every_query_is_of_columns_that_there_are(tmp_path: Path) -> None:
    statements = [words(step.command)[1] for step in COMMANDS if step.command.startswith("sl-assets sql")]
    assert len(statements) == 3
    for statement in statements:
        assert query(Lake(str(tmp_path)), statement).width


def test_what_is_run_by_a_shell_is_there(tmp_path: Path) -> None:
    (step, *_) = STEPS
    subprocess.run(["bash", "-euc", step.command], cwd=tmp_path, check=True)
    assert (tmp_path / FILE).parent.is_dir()
    assert (tmp_path / ".env").read_text() == "SL_EXPERIMENTS=my_experiments\n"
