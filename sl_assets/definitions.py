"""The code location: every experiment under ``defs/`` (and ``SL_EXPERIMENTS``), and the data lake."""

import os
import warnings
from pathlib import Path

import dagster as dg

from sl_assets.components import experiment_definitions, experiment_files
from sl_assets.config import PROJECT, ExperimentConfig
from sl_assets.config.reading import read_experiment
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.resources import LakeIOManager, LakeResource

# Backfill policies and data versions are chosen knowingly; their notices would bury everything else.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

PACKAGE = Path(__file__).parent
DEFAULT_LAKE = PROJECT / "data_lake"


def lake_root() -> str:
    """Where the data lake is: ``SL_DATA_LAKE``, or ``data_lake/`` beside the package."""
    return os.environ.get("SL_DATA_LAKE") or str(DEFAULT_LAKE)


def experiments() -> dict[str, ExperimentConfig]:
    """Every experiment by name: the project's, and those in the folder that ``SL_EXPERIMENTS`` names.

    Raises:
        ExperimentFileError: a file is wrong, or two experiments share a name.
    """
    files = experiment_files(PACKAGE / "defs")
    if own := os.environ.get("SL_EXPERIMENTS"):
        if not Path(own).is_dir():
            raise ExperimentFileError(f"SL_EXPERIMENTS = {own!r}: no such folder; name one that holds <name>/defs.yaml")
        others = experiment_files(Path(own))
        if shared := files.keys() & others.keys():
            raise ExperimentFileError(f"{others[min(shared)]}: the name {min(shared)!r} is taken; rename the folder")
        files |= others
    return {name: read_experiment(file) for name, file in files.items()}


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads. Files are checked first, so that a mistake is one line rather than a page."""
    checked = experiments()
    inside = experiment_files(PACKAGE / "defs")
    outside = [experiment_definitions(name, config) for name, config in checked.items() if name not in inside]
    root = lake_root()
    shared = dg.Definitions(
        resources={"lake": LakeResource(root=root), "io_manager": LakeIOManager(root=root)},
        # Steps of a run share the process, and with it the loaded model.
        executor=dg.in_process_executor,
        sensors=[dg.AutomationConditionSensorDefinition("refresh_cpu_assets", target=dg.AssetSelection.all())],
    )
    return dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=PACKAGE), *outside, shared)
