"""An experiment file becomes definitions; what only Dagster can check of one is said in one line, too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sl_assets.components import DEFS
from sl_assets.config import PROJECT
from sl_assets.errors import ExperimentFileError
from sl_assets.experiments import load_experiment
from sl_assets_tests.conftest import TINY


@pytest.mark.parametrize("schedule", ["every day", "61 * * * *"])
def test_a_schedule_that_dagster_does_not_understand_is_one_line(tmp_path: Path, schedule: str) -> None:
    file = tmp_path / "defs.yaml"
    content = {"type": "sl_assets.SubliminalExperiment", "attributes": TINY | {"schedule": schedule}}
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(file)
    assert str(caught.value) == (
        f"{file}: attributes.schedule = {schedule!r}: no cron schedule; write five fields, as in '0 3 * * 1'"
    )


def test_dagsters_own_command_finds_and_begins_an_experiment(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "sl_assets", tmp_path / "sl_assets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "SL_PROJECT": str(tmp_path)}

    def dg(*arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "dg"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert "sl_assets.SubliminalExperiment" in dg("list", "components", "--json")
    dg("scaffold", "defs", "sl_assets.SubliminalExperiment", "my_exp")
    begun = load_experiment(tmp_path / "sl_assets" / "defs" / "my_exp" / "defs.yaml")
    assert begun.config == load_experiment(DEFS / "pocket" / "defs.yaml").config
