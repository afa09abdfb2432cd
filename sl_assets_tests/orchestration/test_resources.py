"""Assets of a user's own beside ours."""

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.orchestration.jobs import range_tags
from sl_assets.orchestration.resources import LakeIOManager
from sl_assets_tests.conftest import Bench


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
    )
    def mine() -> object:
        return {key: pl.DataFrame({"n": [n]}) for key, n in made.items()} if isinstance(made, dict) else pl.DataFrame()

    manager = LakeIOManager(root=str(tmp_path))
    job = dg.Definitions(assets=[mine], resources={"io_manager": manager}).resolve_implicit_global_asset_job_def()
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
    @dg.asset(
        key_prefix="tiny",
        ins={"rates": dg.AssetIn(["tiny", "preference_rates"]), "transfer": dg.AssetIn(["tiny", "transfer"])},
        partitions_def=dg.StaticPartitionsDefinition(["neutral", "owl", "wolf"]),
    )
    def my_summary(rates: pl.DataFrame, transfer: pl.DataFrame) -> pl.DataFrame:
        return rates.select("animal", "rate").with_columns(students=transfer["condition"].n_unique())

    own = dg.Definitions(assets=[my_summary], resources={"io_manager": LakeIOManager(root=str(finished.root))})
    job = dg.Definitions.merge(finished.definitions(), own).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=finished.instance, asset_selection=[my_summary.key], partition_key="owl", raise_on_error=False
    )
    assert result.success
    lake = Lake(str(finished.root))
    stored = lake.read_table(Place("tiny", "my_summary", "owl"))
    assert stored["students"].to_list() == [2, 2]
    assert stored["rate"].to_list() == lake.read_table(Place("tiny", "preference_rates", "owl"))["rate"].to_list()
