"""Everything of Dagster that is not public, in one place, each with its reason and the public way it waits for.

Nothing else in the project imports a private module of Dagster. Written for Dagster 1.13.
"""

import json
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    NULL_DATA_VERSION,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.metadata import normalize_metadata
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import DagsterEvent, JobFailureData, RunFailureReason
from dagster._core.instance.config import PoolGranularity
from dagster._core.instance.utils import RUNLESS_JOB_NAME
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import MAX_RETRIES_TAG, PRIORITY_TAG, REPOSITORY_LABEL_TAG
from dagster.components.core.load_defs import PLUGIN_COMPONENT_TYPES_JSON_METADATA_KEY

STEP_PRIORITY = PRIORITY_TAG
"""Op tag by which the executor chooses among steps that could run. Documented as a string; waits for a public name."""

NEVER_RETRIED = {MAX_RETRIES_TAG: "0"}
"""Run tags of what the daemon does not start again, however it ended. Documented as a string; waits for a public name.
"""

ASK_FOR_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
"""Run tags that ask for a range of partitions in one run, as the UI does. Waits for a public way to launch such a run
in this process: `dg.materialize` takes one partition."""

PARTITION = "dagster/partition"
"""Run tag that names the one partition that a run is asked for; of two dimensions, both."""

BACKFILL = "dagster/backfill"
"""Run tag that names the backfill that a run belongs to."""

GRAPH_JOB = "__ASSET_JOB"
"""The job that holds every asset, whatever its partitions, in which the UI and backfills run what they are asked for.
A schedule whose runs have partitions of several kinds can name no other. Waits for a public name."""

CODE_LOCATION = "sl_assets"
"""Name of the code location in workspace.yaml."""


def note_code_location(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Record that ``run`` is of this code location, as of runs that are launched from there.

    The timeline shows no other runs, and those of `dg.JobDefinition.execute_in_process` are of none. Waits for that to
    take a code location.
    """
    if run.remote_job_origin is not None:
        return
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), SINGLETON_REPOSITORY_NAME)
    # Replaced is what is there, so the tag has to be.
    instance.add_run_tags(run.run_id, {REPOSITORY_LABEL_TAG: repository.get_label()})
    if stored := instance.get_run_by_id(run.run_id):
        instance.run_storage.replace_job_origin(stored, repository.get_job_origin(run.job_name))


def component_docs(component: type[dg.Component], example: str) -> dict[str, Any]:
    """Metadata of definitions by which the UI documents ``component``, which this package exports, with an ``example``.

    `dg.load_from_defs_folder` adds it, of every package with an entry point and with an example that it makes up; here
    each experiment is loaded by itself. Waits for a public function.
    """
    package, model = __name__.partition(".")[0], component.get_model_cls()
    schema = json.dumps(model.model_json_schema()) if model else None
    described = {
        "name": f"{package}.{component.__name__}",
        "description": cleandoc(component.__doc__ or ""),
        "example": example,
        # Of choices the page shows those of anyOf, and no others.
        "schema": schema and schema.replace('"oneOf"', '"anyOf"'),
        "owners": [],
        "tags": [],
        "produces": ["asset", "job", "schedule", "sensor"],
    }
    return {PLUGIN_COMPONENT_TYPES_JSON_METADATA_KEY: [{"name": package, "componentTypes": [described]}]}


def version_tags(instance: dg.DagsterInstance, spec: dg.AssetSpec, code_version: str) -> dict[str, str]:
    """Tags of a partition's own event that say what it was made from, by which Dagster tells later what is stale.

    `dg.MaterializeResult` sets them, but one result stamps all partitions of a run alike. Waits for a result that can
    name its partition.
    """
    tags = {CODE_VERSION_TAG: code_version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    for dep in spec.deps:
        latest = instance.fetch_materializations(dep.asset_key, limit=1).records
        version = extract_data_version_from_entry(latest[0].event_log_entry) if latest else None
        tags[get_input_data_version_tag(dep.asset_key)] = version.value if version else NULL_DATA_VERSION.value
        tags[get_input_event_pointer_tag(dep.asset_key)] = str(latest[0].storage_id) if latest else "NULL"
    return tags


def materialisation_event(
    key: dg.AssetKey, partition: str | None, data_version: str, metadata: Mapping[str, Any], tags: Mapping[str, str]
) -> dg.AssetMaterialization:
    """The event of one partition, with a data version of its own; see `version_tags`."""
    return dg.AssetMaterialization(
        key, partition=partition, metadata=metadata, tags={**tags, DATA_VERSION_TAG: data_version}
    )


def check_event(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None, **result: Any
) -> dg.AssetCheckEvaluation:
    """The event of one partition's check, about what is there of it now; ``result`` has the event's other fields.

    `dg.AssetCheckResult` is of one partition only in a run of one. Without the materialisation that it is about, the
    UI takes a result for that of an earlier one. Waits for a result that can name its partition.
    """
    wanted = dg.AssetRecordsFilter(key, asset_partitions=[partition] if partition else None)
    latest = instance.fetch_materializations(wanted, limit=1).records
    about = (
        AssetCheckEvaluationTargetMaterializationData(
            storage_id=latest[0].storage_id, run_id=latest[0].run_id, timestamp=latest[0].timestamp
        )
        if latest
        else None
    )
    return dg.AssetCheckEvaluation(key, partition=partition, target_materialization_data=about, **result)


def report_check(instance: dg.DagsterInstance, run_id: str, evaluation: dg.AssetCheckEvaluation) -> None:
    """Record ``evaluation``, whose asset the run of that id does not make; the last one of a run counts.

    `instance.report_runless_asset_event` takes one of a check and partition and refuses every later one, for all share
    the empty id of no run, and an index in the database allows one an id. Waits for that to be mended.
    """
    event = DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        event_specific_data=evaluation,
        job_name=RUNLESS_JOB_NAME,
    )
    instance.report_dagster_event(event, run_id)


def told_versions(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str | None, tuple[str, str]]:
    """Data version and code version that Dagster was last told of each partition, in two queries.

    Waits for a public way to ask for the latest event of every partition at once.
    """
    latest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    ids = [event_id for event_id in latest.values() if event_id]
    if not ids:
        event = instance.get_latest_materialization_event(key)
        events = [event.asset_materialization] if event else []
    else:
        wanted = dg.AssetRecordsFilter(key, storage_ids=ids)
        events = [record.asset_materialization for record in instance.fetch_materializations(wanted, len(ids)).records]
    told = {event.partition: event.tags or {} for event in events if event}
    return {
        partition: (tags[DATA_VERSION_TAG], tags[CODE_VERSION_TAG])
        for partition, tags in told.items()
        if {DATA_VERSION_TAG, CODE_VERSION_TAG} <= tags.keys()
    }


def as_stored(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` as Dagster's own kinds of values, which `dg.serialize_value` can write and read again.

    An event does this to its metadata itself; here a record keeps them, too. Waits for a public function.
    """
    stored: dict[str, Any] = {}
    stored.update(normalize_metadata(dict(metadata)))
    return stored


def has_partitions(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    """Whether a backfill was asked for partitions of assets. Waits for a public view of what a backfill targets."""
    backfill = instance.get_backfill(backfill_id)
    data = backfill.asset_backfill_data if backfill else None
    return bool(data and data.target_subset.partitions_subsets_by_asset_key)


def steps_tags(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[Mapping[str, str]]:
    """Tags of every step that ``run``, which is not begun, consists of. Waits for run tags that an asset can set."""
    if not run.execution_plan_snapshot_id:
        return []
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return [step.tags or {} for step in plan.steps if step.key in plan.step_keys_to_execute]


def pool_limit(instance: dg.DagsterInstance, pool: str) -> int | None:
    """How many may have a place in ``pool``; None where nobody has set that. Waits for a public view of pools."""
    limits = {found.name: found.limit for found in instance.event_log_storage.get_pool_limits()}
    return limits.get(pool, instance.get_concurrency_config().pool_config.default_pool_limit)


def set_pool_limit(instance: dg.DagsterInstance, pool: str, limit: int) -> None:
    """Set it, as ``dagster instance concurrency set`` does. Waits for a public method."""
    instance.event_log_storage.set_concurrency_slots(pool, limit)


def unset_pool_limit(instance: dg.DagsterInstance, pool: str) -> None:
    """Forget it. Waits for a public method."""
    instance.event_log_storage.delete_concurrency_limit(pool)


def pools_hold_steps(instance: dg.DagsterInstance) -> bool:
    """Whether a place in a pool is taken by a step rather than by its whole run. Waits for a public view of pools."""
    return instance.get_concurrency_config().pool_config.pool_granularity is not PoolGranularity.RUN


def free_pools(instance: dg.DagsterInstance, run_id: str) -> None:
    """Give back the places that ``run_id`` holds. The UI does so; waits for a public method."""
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def report_own_failure(instance: dg.DagsterInstance, run: dg.DagsterRun, reason: str) -> None:
    """Record that ``run`` failed as one of its steps would, which is no reason to start it again, and not as one whose
    process died. Waits for a public way to say why a run failed."""
    instance.report_run_failed(run, reason, JobFailureData(None, RunFailureReason.STEP_FAILURE))


def job_has_failed(health: CheckRunHealthResult) -> bool:
    """Whether a launcher found that the job of a run is over, and did not succeed. Waits for a public name of that."""
    return health.status is WorkerStatus.FAILED


def serve_by(module: str) -> None:
    """Have ``dagster dev`` start ``module`` in place of its own web server.

    Waits for a public way to add middleware to the web server.
    """
    from dagster._cli import dev

    start = dev.open_ipc_subprocess  # type: ignore[attr-defined]

    def start_ours(command: Sequence[str], **settings: Any) -> Any:
        return start([module if part == "dagster_webserver" else part for part in command], **settings)

    dev.open_ipc_subprocess = start_ours  # type: ignore[attr-defined, assignment]
