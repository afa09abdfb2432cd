"""Fills a lake as runs do, and looks at what it holds."""

import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sl_assets.errors import LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.orchestration.partition import Step
from sl_assets_tests.lake.test_records import recorded

TABLE = Place("exp", "evaluation", "cat")
FOLDER = Place("exp", "lora_checkpoint", "cat")
BESIDE = Place("exp", "training", "cat")
PICTURE = Place("exp", "preference_chart")
FRAME = pl.DataFrame({"step": [1, 2], "loss": [0.5, None], "text": ["ä", "b\n"]})


def everything(lake: Lake) -> dict[str, bytes]:
    """Each file of the lake with its bytes, hidden ones included."""
    root = Path(lake.root)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def entries(lake: Lake, place: Place) -> set[str]:
    """What lies beside the folder of ``place``."""
    return {path.name for path in Path(lake.path(place)).parent.iterdir()}


def put_folder(lake: Lake, place: Place = FOLDER, **files: str) -> str:
    """Put a folder at ``place``, without a record."""
    with lake.building(place) as folder:
        for name, text in files.items():
            (folder / "deep").mkdir(exist_ok=True)
            (folder / "deep" / name).write_text(text)
        return lake.put_folder(place, folder)


def write_record(lake: Lake, place: Place, version: str) -> None:
    """Record ``version`` of ``place`` as a run does, which keeps the version before."""
    before = lake.record(place)
    replaced = before and (before.replaced if before.data_version == version else before.data_version)
    lake.write_record(recorded(place, version, replaced=replaced, files=dict(lake.writes)), before and before.replaced)


def write_folder(lake: Lake, place: Place = FOLDER, **files: str) -> str:
    version = put_folder(lake, place, **files)
    write_record(lake, place, version)
    return version


def write_table(lake: Lake, place: Place, frame: pl.DataFrame) -> str:
    version = lake.write_table(place, frame)
    write_record(lake, place, version)
    return version


def versions(lake: Lake, place: Place = FOLDER) -> set[str]:
    """Folders of versions of ``place``."""
    return {path.name for path in Path(lake.path(place)).iterdir() if path.is_dir()}


def one_line(error: pytest.ExceptionInfo[LakeError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def step(lake: Lake, place: Place) -> Step:
    return Step(place.experiment, place.table, place.partition, "", lake, print)


# Random bytes do not compress, so this table is larger than SMALL_DISK whatever the codec.
LARGE = pl.DataFrame({"noise": np.random.default_rng(0).random(4096)})
SMALL_DISK = 8192


@contextmanager
def small_disk():
    """The system refuses to let a file grow beyond SMALL_DISK bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
