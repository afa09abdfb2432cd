"""What the code location offers: the lake to assets of a user's own beside ours, and S3 where it holds the lake."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster_aws.s3 import S3Resource

from sl_assets.config import PROJECT
from sl_assets.errors import LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.orchestration.jobs import range_tags
from sl_assets.orchestration.resources import LAKE_IO_MANAGER, S3, lake_resources, s3_resource
from sl_assets_tests.conftest import Bench
from sl_assets_tests.s3_server import s3_server


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ({"owl": 1, "wolf": 2}, None),
        ({"owl": 1}, "tiny/mine: this run makes the partitions owl, wolf; return a dict with a frame for each"),
        (3, "tiny/mine: this run makes the partitions owl, wolf; return a dict with a frame for each"),
    ],
)
def test_a_run_of_several_partitions_stores_each(tmp_path: Path, made: dict[str, int] | int, problem: str) -> None:
    @dg.asset(
        key_prefix="tiny",
        partitions_def=dg.StaticPartitionsDefinition(["owl", "wolf"]),
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key=LAKE_IO_MANAGER,
    )
    def mine() -> object:
        return {key: pl.DataFrame({"n": [n]}) for key, n in made.items()} if isinstance(made, dict) else pl.DataFrame()

    offered = lake_resources(str(tmp_path))
    job = dg.Definitions(assets=[mine], resources=offered).resolve_implicit_global_asset_job_def()
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(instance=instance, tags=range_tags("owl", "wolf"), raise_on_error=False)
    assert result.success == (problem is None)
    lake = Lake(str(tmp_path))
    if problem is None:
        assert [lake.read_table(Place("tiny", "mine", key)).item() for key in ("owl", "wolf")] == [1, 2]
        assert not lake.exists(Place("tiny", "mine", "owl")), "a table of a user's own has no record"
    else:
        assert problem in str(result.all_events)
        assert not lake.path(Place("tiny", "mine")).exists()


def test_our_tables_are_parameters_and_their_frames_are_stored(finished: Bench) -> None:
    names = ("preference_rates", "transfer")

    @dg.asset(
        key_prefix="tiny",
        ins={name: dg.AssetIn(["tiny", name], input_manager_key=LAKE_IO_MANAGER) for name in names},
        io_manager_key=LAKE_IO_MANAGER,
        partitions_def=dg.StaticPartitionsDefinition(["neutral", "owl", "wolf"]),
    )
    def my_summary(preference_rates: pl.DataFrame, transfer: pl.DataFrame) -> pl.DataFrame:
        return preference_rates.select("animal", "rate").with_columns(students=transfer["condition"].n_unique())

    offered = {LAKE_IO_MANAGER: lake_resources(str(finished.root))[LAKE_IO_MANAGER]}
    own = dg.Definitions(assets=[my_summary], resources=offered)
    job = dg.Definitions.merge(finished.definitions(), own).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=finished.instance, asset_selection=[my_summary.key], partition_key="owl", raise_on_error=False
    )
    assert result.success
    lake = Lake(str(finished.root))
    stored = lake.read_table(Place("tiny", "my_summary", "owl"))
    assert stored["students"].to_list() == [2, 2]
    assert stored["rate"].to_list() == lake.read_table(Place("tiny", "preference_rates", "owl"))["rate"].to_list()


def test_what_another_asset_returns_does_not_end_up_in_the_lake(tmp_path: Path) -> None:
    @dg.asset(key_prefix="team")
    def theirs() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    root = tmp_path / "lake"
    job = dg.Definitions(assets=[theirs], resources=lake_resources(str(root))).resolve_implicit_global_asset_job_def()
    with dg.instance_for_test() as instance:
        assert job.execute_in_process(instance=instance).success
    assert not root.exists()


def test_a_lake_on_s3_offers_a_client_of_its_bucket() -> None:
    with s3_server("lakes") as client:
        client.put_object(Bucket="lakes", Key="greeting", Body=b"hello")
        read: list[bytes] = []

        @dg.asset
        def theirs(s3: S3Resource) -> None:
            read.append(s3.get_client().get_object(Bucket="lakes", Key="greeting")["Body"].read())

        offered = lake_resources("s3://lakes/lake")
        assert offered[S3].endpoint_url == client.meta.endpoint_url
        assert offered[S3].region_name == "us-east-1"
        with dg.instance_for_test() as instance:
            assert dg.materialize([theirs], resources=offered, instance=instance).success
    assert read == [b"hello"]


def test_a_lake_on_a_disk_takes_no_client(tmp_path: Path) -> None:
    assert S3 not in lake_resources(str(tmp_path))
    # Beyond that Dagster's own loader looks into every library of Dagster's that is installed.
    code = (
        "import sys; from sl_assets.orchestration.resources import lake_resources; "
        "lake_resources('lake'); print('dagster_aws' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("absent", ["s3fs", "dagster_aws"])
def test_without_what_s3_takes_the_fix_is_named(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(LakeError) as caught:
        s3_resource("s3://lakes/lake")
    assert str(caught.value) == (
        f"SL_DATA_LAKE = 's3://lakes/lake': {absent} is not installed here; pip install -e '.[s3]'"
    )


def test_what_a_step_prints_can_be_read_in_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings that ``deploy/s3`` brings, below the project's own."""
    parts = [PROJECT / "dagster.yaml", PROJECT / "deploy" / "s3" / "compute_logs.yaml"]
    (tmp_path / "dagster.yaml").write_text("".join(part.read_text() for part in parts))
    monkeypatch.setenv("SL_LOGS_BUCKET", "lakes")

    @dg.asset
    def talkative() -> None:
        print("said to the bucket", flush=True)

    with s3_server("lakes") as client, dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        result = dg.materialize([talkative], instance=instance)
        stored = [item["Key"] for item in client.list_objects_v2(Bucket="lakes")["Contents"]]
        assert all(key.startswith("sl_assets/logs/storage/") for key in stored)
        (out,) = (key for key in stored if key.endswith(".out"))
        assert client.get_object(Bucket="lakes", Key=out)["Body"].read() == b"said to the bucket\n"
        step = out.split("/")[-1].removesuffix(".out")
        logs = instance.compute_log_manager.get_log_data([result.run_id, "compute_logs", step])
        assert logs.stdout == b"said to the bucket\n", "as the UI reads it"


def test_a_run_cannot_be_told_of_another_lake(bench: Bench, tmp_path: Path) -> None:
    """Whoever may launch a run may not choose where it writes."""
    elsewhere = tmp_path / "elsewhere"
    job = bench.definitions().resolve_implicit_global_asset_job_def()
    told = {"resources": {"lake": {"config": {"root": str(elsewhere)}}}}
    prompts = dg.AssetKey(["tiny", "number_prompts"])
    assert job.execute_in_process(instance=bench.instance, asset_selection=[prompts], run_config=told).success
    assert Lake(str(bench.root)).exists(Place("tiny", "number_prompts"))
    assert not elsewhere.exists()
