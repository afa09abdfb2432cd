"""A home whose runs are launched on a cluster: a launcher that only says what became of a run's job."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import CheckRunHealthResult, RunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from sl_assets.config import PROJECT
from sl_assets.definitions import fail_killed_runs
from sl_assets.orchestration.dagster_internals import note_code_location, pool_limit, set_pool_limit
from sl_assets.orchestration.gpu_pool import GPU_POOL, prepare_pool, size_pool
from sl_assets_tests.conftest import Bench

STARTING, FAILURE = dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.FAILURE


class Cluster(RunLauncher[Any], ConfigurableClass):
    """Launches nothing."""

    found = WorkerStatus.RUNNING

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "Cluster":
        return cls(inst_data)

    def launch_run(self, context: Any) -> None:
        raise NotImplementedError

    def terminate(self, run_id: str) -> bool:
        raise NotImplementedError

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        return CheckRunHealthResult(self.found, "dagster: not found")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    settings = yaml.safe_load((PROJECT / "deploy" / "ray" / "dagster.yaml").read_text())
    settings["run_launcher"] = {"module": __name__, "class": "Cluster"}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def test_cards_of_this_machine_limit_no_run(two_cards: None, instance: dg.DagsterInstance) -> None:
    assert size_pool(instance) is None
    assert pool_limit(instance, GPU_POOL) is None
    # As a home has it that was on one machine before.
    set_pool_limit(instance, GPU_POOL, 1)
    prepare_pool(instance)
    assert pool_limit(instance, GPU_POOL) is None


@pytest.mark.parametrize(
    ("found", "status"),
    [(WorkerStatus.FAILED, FAILURE), (WorkerStatus.RUNNING, STARTING), (WorkerStatus.UNKNOWN, STARTING)],
)
def test_a_run_whose_job_failed_before_it_began_is_recorded_as_failed(
    bench: Bench,
    instance: dg.DagsterInstance,
    found: WorkerStatus,
    status: dg.DagsterRunStatus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Cluster, "found", found)
    job = bench.definitions().resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job)
    note_code_location(instance, run)
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.PIPELINE_STARTING.value, job.name), run_id=run.run_id
    )
    fail_killed_runs(dg.build_sensor_context(instance))
    now = instance.get_run_by_id(run.run_id)
    assert now
    assert now.status is status
    said = [event.message for event in instance.all_logs(run.run_id)]
    assert any("dagster: not found" in line for line in said) == (status is FAILURE)
