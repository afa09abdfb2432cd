"""The data lake as a Dagster resource, and an IO manager for assets that users add beside ours.

Where the lake is, the environment says, and nothing else: neither is configurable, for the configuration of a run is
written by whoever launches it, and could have the run write to any folder of the machine.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from sl_assets.errors import DatasetError, LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import blocked

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource

LAKE, LAKE_IO_MANAGER, S3 = "lake", "lake_io_manager", "s3"
"""Keys of the resources that the code location offers."""


def lake_resources(root: str) -> dict[str, Any]:
    """What a code location offers over the lake at ``root``, by key; with a lake on S3, its bucket's client.

    None of them is Dagster's default: what somebody else's assets return does not end up in the lake.
    """

    # By their names the UI calls the kinds of resources.
    def data_lake(_: dg.InitResourceContext) -> LakeResource:
        return LakeResource(root)

    def frames_in_the_lake(_: dg.InitResourceContext) -> LakeIOManager:
        return LakeIOManager(root)

    resources: dict[str, Any] = {
        LAKE: dg.ResourceDefinition(
            data_lake, description=f"The data lake at {root}, where every table, adapter and vector is."
        ),
        LAKE_IO_MANAGER: dg.IOManagerDefinition(
            frames_in_the_lake,
            description=f"Hands tables of the lake at {root} to assets of your own as polars frames, and stores those "
            "that they return, where an asset asks for it.",
        ),
    }
    return resources | ({S3: s3_resource(root)} if root.startswith("s3://") else {})


def s3_resource(root: str) -> "S3Resource":
    """A client of the S3 that holds the lake at ``root``, by the environment that the lake goes by, too.

    Raises:
        LakeError: what S3 takes is not installed.
    """
    if absent := [name for name in ("s3fs", "dagster_aws") if not find_spec(name)]:
        raise LakeError(f"SL_DATA_LAKE = {root!r}: {absent[0]} is not installed here; pip install -e '.[s3]'")
    from dagster_aws.s3 import S3Resource

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return S3Resource(endpoint_url=endpoint, region_name=region)


@dataclass(frozen=True)
class LakeResource:
    """Opens the data lake at ``root``: a folder, or ``s3://bucket/prefix``."""

    root: str

    def open(self) -> Lake:
        """A lake of its own for every step, so that what one step reads is not another's lineage."""
        return Lake(self.root)


@dataclass(frozen=True)
class LakeIOManager(dg.IOManager):
    """Hands our tables to assets of yours as polars frames, and stores the frames they return, where they ask for it.

    To store, an asset has ``io_manager_key="lake_io_manager"``; to read, an input has ``AssetIn(key,
    input_manager_key="lake_io_manager")``. So ``["pocket", "preference_rates"]`` is that table; a dict by partition
    where it is read in several, and an asset that makes several partitions in one run returns one.
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
