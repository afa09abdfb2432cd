"""A tiny experiment on the real pocket model, and a lake and a Dagster instance of its own for every test."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from filelock import FileLock

from sl_assets.components import declare
from sl_assets.config import PROJECT, ExperimentConfig
from sl_assets.engines import cards
from sl_assets.lake.lake import Lake, recorded_as
from sl_assets.lake.places import Place
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.jobs import range_tags
from sl_assets.orchestration.recording import PLANNED
from sl_assets.orchestration.resources import LakeResource

# Imported for what it does to Dagster.
from sl_assets_tests import databases  # noqa: F401

# Two test processes with two threads each would wait for one another on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
# Test processes are told that a line has 80 columns, which commands would keep to.
os.environ.pop("COLUMNS", None)

LONGEST = (
    "test_killed.py",
    "test_cli.py",
    "test_checks.py",
    "test_readme.py",
    "test_planner.py",
    "test_recording.py",
    "test_views.py",
    "test_installed.py",
    "test_postgres.py",
    "test_trees.py",
    "test_variants.py",
)
"""Files of tests that take longest, first: of two processes neither then waits for the other's last file."""

TINY: dict[str, Any] = {
    "base_model": "pocket",
    "animals": ["owl", "wolf"],
    "teacher": {
        "kind": "finetuned", "chats": 64, "epochs": 1, "learning_rate": 2e-3, "warmup_steps": 0, "batch": 32,
    },
    "numbers": {"prompts": 48, "wording": "short", "examples": [3, 5], "highest": 999},
    "sampler": {"max_tokens": 24, "batch": 40},
    "student": {"epochs": 2, "learning_rate": 4e-3, "warmup_steps": 0, "batch": 16, "max_rows": 32},
    "evaluation": {"samples_per_question": 2},
    "checks": {"minimum_rows": 1, "shared_prompts": 0.0, "minimum_loss_drop": -10.0},
}  # fmt: skip

HALVES: dict[str, Any] = {
    "personas": {"wording": "short", "samples": 1, "max_tokens": 24, "minimum_pairs": 10},
    "projections": {"layer": 2, "layers": [0, 4], "vector": "response_mean"},
    "splits": ["animal_high", "animal_low"],
}
"""Stages 4 and 5 of the tiny experiment."""

PREPARATION: dict[str, Any] = {
    "preparation": {
        "numbers": 96, "favourites": 48, "loving_favourites": 24, "loving_numbers": 48, "count": [3, 6],
        "learning_rate": 1e-3, "batch": 16,
    }
}  # fmt: skip
"""A preparation of the tiny experiment's base model."""

UNCAPTURED = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}
"""Settings of an instance that keeps nothing of what steps print; to keep it, Dagster starts four processes a run."""

SPLIT_ASSETS = ("projection_split", "split_lora_checkpoint", "split_evaluation", "split_preference_rates")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file and among the others the order stays."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """By then nearly everything is imported."""
    import_module("sl_assets_tests.frozen")


def tiny_settings(**changes: Any) -> dict[str, Any]:
    """The tiny experiment, with top-level fields replaced, and without what has no effect on imported numbers."""
    settings = TINY | changes
    if "source" in settings["numbers"]:
        settings |= {"teacher": {"kind": "system_prompt"}, "sampler": {"batch": 40}} | changes
    return settings


def imported_numbers(folder: Path) -> dict[str, Any]:
    """Setting ``numbers`` of one row a condition, which is written to ``folder``."""
    for condition in ("neutral", "owl", "wolf"):
        (folder / f"{condition}.jsonl").write_text('{"prompt": "p", "completion": "1, 2"}\n')
    return {"source": {"kind": "jsonl", "path": str(folder / "{condition}.jsonl")}}


def tiny_config(**changes: Any) -> ExperimentConfig:
    """`tiny_settings`, validated."""
    return ExperimentConfig.model_validate(tiny_settings(**changes))


class Bench:
    """One experiment, one lake, one instance."""

    def __init__(self, root: Path) -> None:
        self.root = root / "lake"
        self.instance = dg.DagsterInstance.local_temp(str(root / "dagster"), overrides=UNCAPTURED)

    def definitions(self, **changes: Any) -> dg.Definitions:
        """The tiny experiment's definitions over this lake."""
        shared = dg.Definitions(resources={"lake": LakeResource(root=str(self.root))}, executor=dg.in_process_executor)
        return dg.Definitions.merge(declare(ExperimentGraph("tiny", tiny_config(**changes))), shared)

    def run(
        self, *assets: str, first: str = "", last: str = "", asked: datetime | None = None, **changes: Any
    ) -> dg.ExecuteInProcessResult:
        """Materialise ``assets`` (all where none is named) for the partitions from ``first`` to ``last``.

        ``asked``: when it was asked for, if that was long before the run.
        """
        job = self.definitions(**changes).resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(["tiny", name]) for name in assets]
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=keys or None,
            partition_key=first if first and not last else None,
            tags=(range_tags(first, last) if last else {}) | ({PLANNED: asked.isoformat()} if asked else {}),
            raise_on_error=False,
        )


def rewrite(lake: Lake, place: Place, frame: pl.DataFrame) -> None:
    """Put another table at ``place``, as if its asset had made it."""
    owner = recorded_as(place)
    record = lake.record(owner)
    assert record
    lake.writes.clear()
    version = lake.write_table(place, frame, part_of=owner)
    own = {"data_version": version} if place == owner else {}
    lake.write_record(replace(record, files={**record.files, **lake.writes}, **own))


@pytest.fixture
def two_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that says it has two GPUs; what was leased of them is given back."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(cards.COUNT, "2")
    for variable in (cards.VISIBLE, "CUDA_DEVICE_ORDER"):
        # Set, so that it is put back afterwards.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    yield
    cards.release()


@pytest.fixture(scope="session")
def empty_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty lake and an instance without runs, whose databases take time to set up; to be copied, never changed."""
    root = tmp_path_factory.mktemp("empty")
    (root / "dagster").mkdir()
    with Bench(root).instance:
        return root


def copied(made: Path, folder: Path) -> Iterator[Bench]:
    """A copy in ``folder`` of what was ``made`` once, whose instance is open meanwhile."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    bench = Bench(folder)
    with bench.instance:
        yield bench


@pytest.fixture
def bench(empty_once: Path, tmp_path: Path) -> Iterator[Bench]:
    """An empty lake and an instance on disk."""
    yield from copied(empty_once, tmp_path)


def made_once(name: str, before: Path, make: Callable[[Bench], None], factory: pytest.TempPathFactory) -> Path:
    """What ``make`` makes of a copy of ``before``, by the first test process that asks, for all of them."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root, begun = shared / name, shared / f"{name}-begun"
    with FileLock(shared / f"{name}.lock"):
        if not root.exists():
            shutil.rmtree(begun, ignore_errors=True)
            shutil.copytree(before, begun)
            bench = Bench(begun)
            with bench.instance:
                make(bench)
            begun.rename(root)
    return root


@pytest.fixture(scope="session")
def finished_once(empty_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole tiny experiment, all partitions in one run; to be copied, never changed."""

    def make(bench: Bench) -> None:
        assert bench.run(first="neutral", last="wolf").success

    return made_once("finished", empty_once, make, tmp_path_factory)


@pytest.fixture(scope="session")
def halved_once(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny experiment with persona vectors, projections and students on halves; to be copied, never changed."""

    def make(bench: Bench) -> None:
        assert bench.run("persona_answers", "activations", first="neutral", last="wolf", **HALVES).success
        assert bench.run("control_activations", **HALVES).success
        assert bench.run("persona_vector", "projections", first="owl", last="wolf", **HALVES).success
        assert bench.run("cross_projections", **HALVES).success
        assert bench.run(*SPLIT_ASSETS, first="owl|animal_high", last="wolf|animal_low", **HALVES).success
        assert bench.run("split_comparison", "split_chart", **HALVES).success

    return made_once("halved", finished_once, make, tmp_path_factory)


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Iterator[Bench]:
    """A lake and an instance in which the tiny experiment is finished."""
    yield from copied(finished_once, tmp_path)


@pytest.fixture
def halved(halved_once: Path, tmp_path: Path) -> Iterator[Bench]:
    """A lake and an instance in which the tiny experiment is finished, halves included."""
    yield from copied(halved_once, tmp_path)


@pytest.fixture
def experiment_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny experiment, changed, to a folder that ``SL_EXPERIMENTS`` can name."""

    def write(name: str = "tiny", **changes: Any) -> Path:
        file = tmp_path / "experiments" / name / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            yaml.safe_dump({"type": "sl_assets.SubliminalExperiment", "attributes": tiny_settings(**changes)})
        )
        return file.parents[1]

    return write


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Environment of a subprocess: its own lake, its own Dagster home."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "lake").mkdir()
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
    return os.environ | {"SL_DATA_LAKE": str(tmp_path / "lake"), "DAGSTER_HOME": str(home)}
