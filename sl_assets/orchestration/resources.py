"""The data lake as a Dagster resource, and an IO manager for assets that users add beside ours."""

from typing import Any

import dagster as dg
import polars as pl

from sl_assets.errors import DatasetError, LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import blocked


class LakeResource(dg.ConfigurableResource["LakeResource"]):
    """Opens the data lake at ``root``: a folder, or ``s3://bucket/prefix``."""

    root: str

    def open(self) -> Lake:
        """A lake of its own for every step, so that what one step reads is not another's lineage."""
        return Lake(self.root)


class LakeIOManager(dg.ConfigurableIOManager):
    """Hands our tables to assets of yours as polars frames, and stores the frames they return.

    An asset ``["pocket", "my_summary"]`` with a parameter ``preference_rates`` gets that table; a dict by partition
    where it depends on several, and an asset that makes several partitions in one run returns one.
    """

    root: str

    def load_input(self, context: dg.InputContext) -> pl.DataFrame | dict[str, pl.DataFrame]:
        """The frame, or one frame per partition.

        Raises:
            DatasetError: one fails a check that blocks.
        """
        experiment, table = context.asset_key.path
        lake = Lake(self.root)

        def read(place: Place) -> pl.DataFrame:
            if found := blocked(lake.record, place):
                raise DatasetError(str(found))
            return lake.read_table(place)

        if not context.has_asset_partitions:
            return read(Place(experiment, table))
        frames = {key: read(Place(experiment, table, key)) for key in context.asset_partition_keys}
        return next(iter(frames.values())) if len(frames) == 1 else frames

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store a frame as the table of the asset's name, or one frame per partition of the run.

        Raises:
            LakeError: a run of several partitions gave something else.
        """
        experiment, table = context.asset_key.path
        keys = context.asset_partition_keys if context.has_asset_partitions else [None]
        frames = {keys[0]: obj} if len(keys) == 1 else obj
        if not isinstance(frames, dict) or set(frames) != set(keys):
            raise LakeError(
                f"{experiment}/{table}: this run makes the partitions {', '.join(sorted(map(str, keys)))}; "
                "return a dict with a frame for each"
            )
        for key, frame in frames.items():
            Lake(self.root).write_table(Place(experiment, table, key), frame)
