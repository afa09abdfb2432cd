"""The code location: every experiment under ``defs/`` (and ``SL_EXPERIMENTS``), and the data lake."""

import os
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import dagster as dg

from sl_assets.components import DEFS, SubliminalExperiment
from sl_assets.config import PROJECT
from sl_assets.config.project import absolute
from sl_assets.errors import LakeError
from sl_assets.experiments import FILE, find_experiments, fitting
from sl_assets.lake.answering import require_answer
from sl_assets.lake.lake import Lake
from sl_assets.orchestration.dagster_internals import component_docs
from sl_assets.orchestration.migration import migrate
from sl_assets.orchestration.recording import WHERE_STALE
from sl_assets.orchestration.resources import lake_resources
from sl_assets.orchestration.run_processes import end_killed_runs, end_unbegun_runs
from sl_assets.orchestration.ticks import going_on

DEFAULT_LAKE = PROJECT / "data_lake"

EXAMPLE = DEFS / "pocket" / FILE
"""What the UI shows of how an experiment is written."""


def lake_root() -> str:
    """Where the data lake is: ``SL_DATA_LAKE``, or ``data_lake/`` in the project's folder.

    Raises:
        LakeError: it is none of the places that a lake may be in.
    """
    root = os.environ.get("SL_DATA_LAKE") or str(DEFAULT_LAKE)
    if not re.match(r"[A-Za-z][\w+.-]*:/", root):
        return str(absolute(root))
    if not re.match(r"s3://[^/]|file:///", root):
        raise LakeError(f"SL_DATA_LAKE = {root!r}: a lake is in a folder, or in s3://bucket/prefix; name one of these")
    if root.startswith("s3") and not find_spec("s3fs"):
        raise LakeError(f"SL_DATA_LAKE = {root!r}: s3fs is not installed here; pip install -e '.[s3]'")
    return root


def open_lake() -> Lake:
    """The lake at `lake_root`, in today's form.

    Raises:
        SlAssetsError: it cannot be read, or nobody answers where it is.
    """
    lake = Lake(lake_root())
    require_answer(lake)
    migrate(lake)
    return lake


def surroundings() -> dg.Definitions:
    """What every experiment needs to run: the lake, and steps that share the process, and with it the loaded model."""
    return dg.Definitions(resources=lake_resources(lake_root()), executor=dg.in_process_executor)


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Record runs whose process was killed, or whose job on a cluster failed before they began, as failed: "
    "those that are queued need not wait for them.",
)
def fail_killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Free what killed runs hold."""
    end_killed_runs(context.instance)
    end_unbegun_runs(context.instance)
    return dg.SkipReason("killed runs are recorded as failed")


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads. What is wrong with an experiment is an asset in its place, and the others are there."""
    around = surroundings()
    found = find_experiments().checked(around)
    problems: dict[str, list[str]] = {}
    for name, problem in found.problems.items():
        problems.setdefault(fitting(name), []).append(str(problem))
    shared = dg.Definitions(
        metadata=component_docs(SubliminalExperiment, EXAMPLE.read_text(encoding="utf-8")),
        assets=[_unloadable(name, "; ".join(lines)) for name, lines in problems.items()],
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "refresh_cpu_assets",
                target=dg.AssetSelection.all(),
                description="Rematerialise tables and charts, which run no model, when their inputs have changed, or "
                "their code or settings. What turns out fresh is left as it is.",
                run_tags={WHERE_STALE: "true"},
            ),
            fail_killed_runs,
            going_on([(one.graph, [its.graph for its in one.variants]) for one in found.files]),
        ],
    )
    loaded = [experiment.definitions for experiment in found.files]
    return dg.Definitions.merge(*loaded, *_python_files(), around, shared)


def _unloadable(name: str, problem: str) -> dg.AssetsDefinition:
    """An asset that stands for an experiment that cannot be loaded, says why, and fails with that line."""

    @dg.asset(
        name="cannot_be_loaded",
        key_prefix=name,
        group_name=name,
        description=f"**This experiment cannot be loaded; everything else can.** {problem}",
        kinds={"error"},
    )
    def asset() -> None:
        raise dg.Failure(problem, allow_retries=False)

    return asset


def _python_files() -> Iterator[dg.Definitions]:
    """What Python files beside the project's experiments define."""
    for file in sorted(DEFS.rglob("*.py")):
        folder = file.relative_to(DEFS).parent
        if file.name != "__init__.py" and not any((DEFS / part / FILE).exists() for part in (folder, *folder.parents)):
            yield dg.load_definitions_from_module(import_module(".".join(["sl_assets.defs", *folder.parts, file.stem])))
