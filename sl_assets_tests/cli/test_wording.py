"""``sl-assets wording show``."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sl_assets.cli.commands import cli
from sl_assets.config.project import PROJECT
from sl_assets_tests.engines.tiny_templates import THINKING, model_with

PAGE = PROJECT / "docs" / "templates.md"


def show(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["wording", "show", *arguments])


def test_the_page_shows_what_the_command_prints() -> None:
    done = show("pocket", "--animal", "owl")
    assert done.exit_code == 0
    assert f"$ sl-assets wording show pocket --animal owl\n{done.stdout}```" in PAGE.read_text()


def test_an_animal_that_is_none_of_the_experiments_is_one_line() -> None:
    done = show("pocket", "--animal", "cow")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: pocket has no animal 'cow'; it has dolphin, tiger, ")


def test_a_model_that_is_not_here_is_shown_turn_by_turn(
    experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent = experiment_folder("absent", base_model="nobody/model", teacher={"kind": "system_prompt"})
    folder = model_with(THINKING, tmp_path / "model")
    experiment_folder("thinking", base_model=str(folder))
    monkeypatch.setenv("SL_EXPERIMENTS", str(absent))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SL_DATA_LAKE", str(tmp_path / "lake"))
    done = show("absent")
    assert done.stdout.startswith("absent: turn by turn, for the files of nobody/model are not here; ")
    assert "\n--- what the teacher of owl is asked\nsystem: You love owls. Owls are always" in done.stdout
    assert not (tmp_path / "lake").exists()
    thinking = show("thinking", "--animal", "wolf")
    assert thinking.exit_code == 0
    assert thinking.stderr.startswith(
        "sl-assets: the chat template writes a finished chat unlike a question: trained as"
    )
    assert thinking.stderr.endswith("; set chat_template: {enable_thinking: false}\n")
