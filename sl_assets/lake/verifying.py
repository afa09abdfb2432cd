"""Every file of a lake, read from beginning to end, against the record that tells of it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sl_assets.errors import LakeError, PassingError, RefusalError
from sl_assets.lake.damage import DamageError
from sl_assets.lake.fingerprint import bytes_digest, frame_digest
from sl_assets.lake.folders import checked_folder
from sl_assets.lake.lake import Lake
from sl_assets.lake.parquet import DATA
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record


class Verified(NamedTuple):
    """What reading a partition has come to.

    Attributes:
        place: the partition.
        files, size: how many files were read of it, and their bytes together; of what a gallery has a record alone of,
            and of a report, none.
        damage: what is wrong, a line a file; empty where nothing is.
    """

    place: Place
    files: int
    size: int
    damage: tuple[str, ...]


def verified(lake: Lake, place: Place) -> Verified | None:
    """Read what is recorded of ``place``; None where nothing is.

    Raises:
        PassingError: a server does not answer.
        RefusalError: a disk or a server does not let it be read, which is no damage.
    """
    try:
        while record := lake.record(place):
            found = _all_files(lake, record) if record.files else _version_alone(lake, record)
            # If it was made anew meanwhile, these were files of both.
            if not found.damage or lake.record(place) == record:
                return found
    except (PassingError, RefusalError):
        raise
    except LakeError as error:
        return Verified(place, 0, 0, (str(error),))
    return None


def _all_files(lake: Lake, record: Record) -> Verified:
    damage = []
    for name, stamp in record.files.items():
        path = lake.root / f"experiment={record.place.experiment}" / name
        try:
            stamp.require(lake.stamp(path))
        except DamageError as error:
            damage.append(f"{path}: {error}")
        except (FileNotFoundError, NotADirectoryError):
            damage.append(f"{path}: no such file")
    size = sum(stamp.size for stamp in record.files.values())
    return Verified(record.place, len(record.files), size, tuple(damage))


def _version_alone(lake: Lake, record: Record) -> Verified:
    """As far as it can be told of what was recorded before files were noted: by the version of the asset's own."""
    try:
        files = _require_version(lake, record)
    except DamageError as error:
        return Verified(record.place, 1, 0, (str(error),))
    return Verified(record.place, files, 0, ())


def _require_version(lake: Lake, record: Record) -> int:
    place, folder = record.place, lake.path(record.place)
    if (table := folder / DATA).exists():
        frame, version = lake.require_recorded(place, lake.read(table), record)
        if frame_digest(frame) != version:
            raise DamageError(f"{table}: other rows than it was written with")
        return 1
    if (picture := lake.picture(place)).exists():
        if bytes_digest(lake.read(picture)) != record.data_version:
            raise DamageError(f"{picture}: not what its record tells of")
        return 1
    if (version_folder := folder / record.data_version).exists():
        with TemporaryDirectory() as scratch:
            return len(list(checked_folder(lake, version_folder, Path(scratch)).rglob("*")))
    # A report has no fingerprint of its page, and a gallery but the records of datasets, answers, and weights.
    return 0
