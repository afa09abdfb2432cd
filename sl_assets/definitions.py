"""The code location: every experiment under ``defs/`` (and ``SL_EXPERIMENTS``), and the data lake."""

import os
import re
import warnings
from pathlib import Path

import dagster as dg

from sl_assets.components import experiment_definitions, experiment_files, read_checked
from sl_assets.config import PROJECT, ExperimentConfig
from sl_assets.config.project import absolute
from sl_assets.errors import ExperimentFileError
from sl_assets.lake.lake import Lake
from sl_assets.orchestration.migration import migrate
from sl_assets.orchestration.resources import lake_resources
from sl_assets.orchestration.run_processes import end_killed_runs

# Backfill policies and data versions are chosen knowingly; their notices would bury everything else.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

PACKAGE = Path(__file__).parent
DEFAULT_LAKE = PROJECT / "data_lake"


def lake_root() -> str:
    """Where the data lake is: ``SL_DATA_LAKE``, or ``data_lake/`` beside the package."""
    root = os.environ.get("SL_DATA_LAKE") or str(DEFAULT_LAKE)
    return root if "://" in root else str(absolute(root))


def open_lake() -> Lake:
    """The lake at `lake_root`, in today's form."""
    lake = Lake(lake_root())
    migrate(lake)
    return lake


def experiments() -> dict[str, ExperimentConfig]:
    """Every experiment by name: the project's, and those in the folder that ``SL_EXPERIMENTS`` names.

    Raises:
        ExperimentFileError: a file is wrong, or two experiments share a name.
    """
    files = experiment_files(PACKAGE / "defs")
    if own := os.environ.get("SL_EXPERIMENTS"):
        folder = absolute(own)
        if not folder.is_dir():
            raise ExperimentFileError(f"SL_EXPERIMENTS = {own!r}: no such folder; name one that holds <name>/defs.yaml")
        others = experiment_files(folder)
        if shared := files.keys() & others.keys():
            raise ExperimentFileError(f"{others[min(shared)]}: the name {min(shared)!r} is taken; rename the folder")
        files |= others
    for name, file in files.items():
        if not re.fullmatch(r"[A-Za-z0-9_]+", name):
            fitting = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "my_experiment"
            raise ExperimentFileError(
                f"{file}: the folder's name {name!r} names the experiment, which may have letters, digits and '_': "
                f"rename it, to {fitting!r} for example"
            )
    return {name: read_checked(file) for name, file in files.items()}


def surroundings() -> dg.Definitions:
    """What every experiment needs to run: the lake, and steps that share the process, and with it the loaded model."""
    return dg.Definitions(resources=lake_resources(lake_root()), executor=dg.in_process_executor)


@dg.sensor(minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def fail_killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Record runs whose process was killed as failed, so that those that are queued need not wait for them."""
    end_killed_runs(context.instance)
    return dg.SkipReason("killed runs are recorded as failed")


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads. Files are checked first, so that a mistake is one line rather than a page."""
    checked = experiments()
    inside = experiment_files(PACKAGE / "defs")
    outside = [experiment_definitions(name, config) for name, config in checked.items() if name not in inside]
    shared = dg.Definitions(
        sensors=[
            dg.AutomationConditionSensorDefinition("refresh_cpu_assets", target=dg.AssetSelection.all()),
            fail_killed_runs,
        ],
    )
    return dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=PACKAGE), *outside, surroundings(), shared)
