"""The data lake: one Parquet file per table and partition, one folder per adapter, on local disk or S3.

Layout: ``<root>/experiment=<name>/<table>/condition=<key>/data.parquet``, hive-style, so any engine reads it; what is
partitioned by split too has ``split=<key>`` below. Folders (adapters, vectors, activations) are
``.../condition=<key>/<version>/`` with a manifest of their files. A ``record.json`` beside, written last, says what the
partition is; without it there is none. Every file is put in place whole, so a reader never sees a part of one.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import polars as pl
from upath import UPath

from sl_assets.errors import AbsentError, LakeError, SlAssetsError
from sl_assets.lake.damage import DamageError
from sl_assets.lake.fingerprint import bytes_digest, frame_digest
from sl_assets.lake.folders import checked_folder, forget_folders, put_folder
from sl_assets.lake.parquet import DATA, VERSION_KEY, parquet_bytes, read_parquet
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD, Record
from sl_assets.lake.refusals import explained, refused_by_disk
from sl_assets.lake.stamps import Stamp
from sl_assets.lake.storage import Storage
from sl_assets.lake.tables import DIMENSIONS, TABLES

T = TypeVar("T")

SCHEMA = "_schema"
"""Name of a pseudo-experiment that holds one empty file per view, so that every view exists before its first run."""


class Lake(Storage):
    """A data lake at ``root``, a folder or an ``s3://bucket/prefix``.

    Attributes:
        reads: data version of every place read so far through this object; the lineage of what is written next.
        writes: stamp of every file put in place so far through this object as a part of a partition, by its path below
            the experiment's folder.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.reads: dict[Place, str] = {}
        self.writes: dict[str, Stamp] = {}

    def apart(self) -> "Lake":
        """The same lake with reads of its own, for a look aside that is no input of what is made."""
        return Lake(str(self.root))

    def path(self, place: Place) -> UPath:
        """Folder of ``place``."""
        return self.root / place.folder

    def exists(self, place: Place) -> bool:
        """Whether ``place`` is a finished partition: of an asset, or of a table that an asset writes beside its own."""
        path = self.path(recorded_as(place)) / RECORD
        with self.errors_explained(path, "read"):
            return bool(path.exists() and path.stat().st_size)

    def record(self, place: Place) -> Record | None:
        """What is recorded of ``place``; None where it is not there.

        Raises:
            LakeError: the record cannot be read.
        """
        path = self.path(recorded_as(place)) / RECORD
        try:
            content = self.read(path)
            return Record.from_json(place.experiment, content) if content else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"{path}: no record that this version can read ({error}); delete it to make it anew"
            ) from None

    def write_record(self, record: Record, forgotten: str | None = None) -> None:
        """Put ``record`` in place: from now on its partition exists. Its folder of version ``forgotten`` is deleted."""
        self.write_file(self.path(record.place) / RECORD, record.to_json())
        # What cannot be deleted now is no reason to call what is there not made.
        with suppress(OSError, SlAssetsError), self.errors_explained(self.path(record.place), "read"):
            forget_folders(self, self.path(record.place), {record.data_version, record.replaced}, forgotten)

    def experiments(self) -> list[str]:
        """Names of experiments of which something is here, sorted."""
        folders = self.folders(self.root, "experiment=")
        return [name for folder in folders if (name := folder.name.removeprefix("experiment=")) != SCHEMA]

    def recorded_places(self, experiment: str) -> Iterator[Place]:
        """Every place in ``experiment`` that has a record, or had one."""
        folder = self.root / f"experiment={experiment}"
        for count in range(len(DIMENSIONS) + 1):
            keys = "".join(f"{name}=*/" for name in DIMENSIONS[:count])
            with self.errors_explained(folder, "read"):
                found = sorted(folder.glob(f"*/{keys}{RECORD}"))
            for path in found:
                table, *dimensions = path.parts[path.parts.index(folder.name) + 1 : -1]
                partition = "|".join(part.partition("=")[2] for part in dimensions)
                yield Place(experiment, table, partition or None)

    def forget_record(self, place: Place) -> None:
        """From now on ``place`` does not exist; done before its data are replaced: no record tells of other data."""
        # Emptied rather than deleted: who lists records and then opens them finds them all.
        if self.exists(place):
            self.write_file(self.path(place) / RECORD, b"")

    def version(self, place: Place) -> str:
        """Data version of what ``place`` holds.

        Raises:
            AbsentError: nothing is there.
        """
        record = self.record(place)
        if record is None:
            raise self._missing(place)
        return record.data_version

    def read_table(self, place: Place) -> pl.DataFrame:
        """The table at ``place``.

        Raises:
            AbsentError: nothing is there; or it is damaged, or not what is recorded of it: its record is forgotten.
        """
        frame, self.reads[place] = self._whole(place, lambda: self._table(place))
        return frame

    def has_table(self, place: Place) -> bool:
        """Whether the file of the table at ``place`` is here: a copy of results may have records of tables it lacks."""
        path = self.path(place) / DATA
        with self.errors_explained(path, "read"):
            return bool(path.exists())

    def _table(self, place: Place) -> tuple[pl.DataFrame, str]:
        try:
            content = self.read(self.path(place) / DATA)
        except (FileNotFoundError, NotADirectoryError):
            # A table beside another may be younger than what was made there: without it that is as whole as it was.
            if (record := self.record(place)) and (recorded_as(place) == place or data_of(place) in record.files):
                raise DamageError(f"is damaged ({self.path(place) / DATA}: no such file)") from None
            raise self._missing(place) from None
        return self.require_recorded(place, content, self.record(place))

    def require_recorded(self, place: Place, content: bytes, record: Record | None) -> tuple[pl.DataFrame, str]:
        """The table in ``content``, the file at ``place``, and its version, if ``record`` tells of no other.

        Raises:
            DamageError: it is no table, or not the one that was recorded.
        """
        try:
            if record and (stamp := record.files.get(data_of(place))):
                stamp.require(Stamp.of(content))
            frame, version = read_parquet(content)
        except DamageError as error:
            raise DamageError(f"is damaged ({self.path(place) / DATA}: {error})") from None
        # Of a table beside another the record tells no version.
        if record and recorded_as(place) == place and record.data_version != version:
            raise DamageError("is not what its record tells of")
        return frame, version

    def stamp(self, path: UPath) -> Stamp:
        """What a file is now, read from beginning to end.

        Raises:
            FileNotFoundError, NotADirectoryError: there is none.
            LakeError: it cannot be read.
        """
        if not self.local:
            return Stamp.of(self.read(path))
        with self.errors_explained(path, "read"):
            return Stamp.of_file(Path(path))

    def wrong_sizes(self, record: Record) -> Iterator[str]:
        """Which files of a partition are of another size than when it was recorded, in words; no file is read.

        What is not there at all is passed over: a copy of results may have records of what it lacks.
        """
        for name, stamp in record.files.items():
            path = self.root / f"experiment={record.place.experiment}" / name
            with suppress(FileNotFoundError, NotADirectoryError), self.errors_explained(path, "read"):
                try:
                    stamp.require_size(path.stat().st_size)
                except DamageError as error:
                    yield f"{path}: {error}"

    def _whole(self, place: Place, read: Callable[[], T]) -> T:
        """What ``read`` gives of ``place``; the record of what is damaged is forgotten, and the next run makes it."""
        with suppress(DamageError):
            return read()
        # Perhaps it was made anew between two looks, or harmed on its way from a server: the next look finds it whole.
        record = self.record(place)
        try:
            return read()
        except DamageError as error:
            # Who cannot write here can still say what is wrong.
            with suppress(SlAssetsError):
                if record is not None and self.record(place) == record:
                    self.forget_record(recorded_as(place))
            raise AbsentError(f"{place} {error}: materialise it again") from None

    def write_table(self, place: Place, frame: pl.DataFrame, part_of: Place | None = None) -> str:
        """Put ``frame`` at ``place``, whole or not at all; returns its data version.

        The record of the partition that it is ``part_of`` is forgotten just before, when the disk has taken the frame.
        """
        version = frame_digest(frame)
        self.write_file(self.path(place) / DATA, parquet_bytes(frame, {VERSION_KEY: version}), part_of)
        return version

    def write_picture(self, place: Place, png: bytes, part_of: Place | None = None) -> str:
        """Put a PNG at ``place``; returns its data version. See `write_table`."""
        self.write_file(self.picture(place), png, part_of)
        return bytes_digest(png)

    def picture(self, place: Place) -> UPath:
        """Where the picture at ``place`` is."""
        return self.path(place) / f"{place.table}.png"

    def write_file(self, path: UPath, content: bytes, part_of: Place | None = None) -> None:
        """Put one file in place atomically, the record of what it is ``part_of`` forgotten; see `Storage.put`."""
        self.put(path, content, (lambda: self.forget_record(part_of)) if part_of else None)
        if part_of:
            above = self.root / f"experiment={part_of.experiment}"
            self.writes[path.relative_to(above).as_posix()] = Stamp.of(content)

    def making(self, place: Place, wait: bool = True) -> AbstractContextManager[bool]:
        """Nobody else makes ``place`` meanwhile; see `Storage.held`. In S3 two may make the same, and one stays."""
        return self.held(place.folder, wait)

    @contextmanager
    def building(self, place: Place) -> Iterator[Path]:
        """An empty local folder to fill, and then to `put` at ``place``; it is gone after the block."""
        target = self.path(place)
        with self.scratch(target) as building:
            try:
                yield building
            except Exception as error:
                # Of other errors the block's own message says more.
                if refusal := refused_by_disk(error):
                    raise explained(target, refusal, "write") from error
                raise

    def put_folder(self, place: Place, building: Path) -> str:
        """Move what ``building`` holds to a subfolder of ``place``, named after its fingerprint; returns that name.

        A reader finds the folder once a record names it.
        """
        version, stamps = put_folder(self, self.path(place), building)
        self.writes |= {f"{place.subfolder}/{name}": stamp for name, stamp in stamps.items()}
        return version

    @contextmanager
    def folder(self, place: Place) -> Iterator[Path]:
        """The folder at ``place`` on local disk (a remote one is copied for the block's duration).

        Raises:
            AbsentError: nothing is there; or a file is not what the manifest says: its record is forgotten.
        """
        with tempfile.TemporaryDirectory() as scratch:
            here, self.reads[place] = self._whole(place, lambda: self._folder(place, Path(scratch)))
            yield here

    def lasting_folder(self, place: Place) -> Path:
        """As `folder`, for as long as this process lives; what it has looked at or copied once it takes again.

        Raises:
            AbsentError: as `folder`.
        """

        def found() -> tuple[Path, str]:
            version = self.version(place)
            if (key := (str(self.path(place)), version)) not in _lasting:
                _lasting[key] = self._folder(place, Path() if self.local else _scratch_until_exit())[0]
            return _lasting[key], version

        here, self.reads[place] = self._whole(place, found)
        return here

    def _folder(self, place: Place, scratch: Path) -> tuple[Path, str]:
        version = self.version(place)
        try:
            return checked_folder(self, self.path(place) / version, scratch), version
        except DamageError as error:
            raise DamageError(f"is damaged ({error})") from None

    def _missing(self, place: Place) -> AbsentError:
        return AbsentError(f"{place} is not in {self.root}: materialise it first")


_lasting: dict[tuple[str, str], Path] = {}
"""Folders of `Lake.lasting_folder`, by place and version."""


def _scratch_until_exit() -> Path:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def data_of(place: Place) -> str:
    """Path of the table at ``place`` below the experiment's folder."""
    return f"{place.subfolder}/{DATA}"


def recorded_as(place: Place) -> Place:
    """The asset whose record tells of ``place``."""
    table = TABLES.get(place.table)
    return Place(place.experiment, table.beside, place.partition) if table and table.beside else place
