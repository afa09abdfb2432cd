"""A relative path means the same folder, whatever starts the process and wherever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sl_assets.config.project import PROJECT

CODE = """
from sl_assets.config import JsonlSource
from sl_assets.definitions import lake_root
from sl_assets.engines.transformers.models import local_folder
print(local_folder("sl_assets/pocket/model"))
print(JsonlSource(kind="jsonl", path="numbers/{condition}.jsonl").file("owl"))
print(lake_root())
"""


def printed(folder: Path, environment: dict[str, str]) -> list[str]:
    """What `CODE` says in a process that is started in ``folder``."""
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("named", [True, False], ids=["started by the command", "started by Dagster"])
def test_relative_paths_start_at_the_projects_folder(tmp_path: Path, named: bool) -> None:
    environment = os.environ | {"SL_DATA_LAKE": "results", "PYTHONPATH": str(PROJECT)}
    if named:
        environment["SL_PROJECT"] = str(PROJECT)
    assert printed(tmp_path, environment) == [
        str(PROJECT / "sl_assets/pocket/model"),
        str(PROJECT / "numbers/owl.jsonl"),
        str(PROJECT / "results"),
    ]


def test_the_command_names_the_folder_to_what_it_starts(tmp_path: Path) -> None:
    environment = os.environ | {"SL_PROJECT": str(tmp_path), "PYTHONPATH": str(PROJECT), "SL_DATA_LAKE": "~/lake"}
    model, rows, lake = printed(Path("/"), environment)
    assert model == "None", "no folder of that name is there"
    assert rows == str(tmp_path / "numbers/owl.jsonl")
    assert lake == str(Path("~/lake").expanduser())
