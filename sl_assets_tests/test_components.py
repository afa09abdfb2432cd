"""An experiment file becomes definitions; what only Dagster can check of one is said in one line, too."""

from pathlib import Path

import pytest
import yaml

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
