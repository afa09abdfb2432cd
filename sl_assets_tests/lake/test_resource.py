"""Assets of a user's own beside ours."""

import dagster as dg
import polars as pl

from sl_assets.lake.lake import Lake, Place
from sl_assets.lake.resource import LakeIOManager
from sl_assets_tests.conftest import Bench


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
