"""The data lake: one Parquet file per table and partition, one folder per adapter, on local disk or S3.

Layout: ``<root>/experiment=<name>/<table>/condition=<key>/data.parquet``, hive-style, so any engine reads it; what is
partitioned by split too has ``split=<key>`` below. Folders (adapters, vectors, activations) are
``.../condition=<key>/<version>/`` with a manifest of their files. A ``record.json`` beside, written last, says what the
partition is; without it there is none. Every file is put in place whole, so a reader never sees a part of one.
"""

import errno
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import polars as pl
from filelock import FileLock, Timeout
from upath import UPath

from sl_assets.errors import AbsentError, LakeError, PassingError, SlAssetsError
from sl_assets.lake.fingerprint import bytes_digest, digest, file_digest, folder_digest, frame_digest
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD, Record
from sl_assets.lake.tables import TABLES
from sl_assets.lake.unfinished import unfinished

DATA = "data.parquet"
MANIFEST = "manifest.json"
VERSION_KEY = "sl_assets.data_version"
SECONDS_A_FOLDER_IS_FILLED = 86_400
"""After which one that no record names was left by a run that was killed."""

REFUSED_BY_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES}


class Lake:
    """A data lake at ``root``, a folder or an ``s3://bucket/prefix``.

    Attributes:
        reads: data version of every place read so far through this object; the lineage of what is written next.
    """

    def __init__(self, root: str) -> None:
        self.local = UPath(root).protocol in ("", "file")
        if self.local:
            self.root = UPath(Path(UPath(root).path).expanduser().absolute())
        else:
            # Others write there too: what a folder holds is asked anew every time.
            self.root = UPath(root.rstrip("/"), use_listings_cache=False)
        self.reads: dict[Place, str] = {}

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
            with self.errors_explained(path, "read"):
                content = path.read_bytes()
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
            self._forget_folders(record.place, {record.data_version, record.replaced}, forgotten)

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
            AbsentError: nothing is there, or it is damaged, or not what is recorded of it.
        """
        frame, version = self._table(place)
        if not self._is_recorded(place, version):
            # Perhaps it was made anew between the two looks; then the next look finds both.
            frame, version = self._table(place)
            if not self._is_recorded(place, version):
                raise AbsentError(f"{place} is not what its record tells of: materialise it again")
        self.reads[place] = version
        return frame

    def _table(self, place: Place) -> tuple[pl.DataFrame, str]:
        table = self.path(place) / DATA
        try:
            with self.errors_explained(table, "read"):
                content = table.read_bytes()
            return pl.read_parquet(io.BytesIO(content)), pl.read_parquet_metadata(io.BytesIO(content))[VERSION_KEY]
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(place) from None
        except (pl.exceptions.PolarsError, KeyError, OSError) as error:
            reason = (str(error).splitlines() or ["unreadable"])[0]
            raise AbsentError(f"{place} is damaged ({table}: {reason}): materialise it again") from None

    def _is_recorded(self, place: Place, version: str) -> bool:
        """Whether no record of ``place`` tells of another version; of a table beside another, none tells anything."""
        record = self.record(place) if recorded_as(place) == place else None
        return record is None or record.data_version == version

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
        """Put one file in place atomically (an S3 upload already is), the record of what it is ``part_of`` forgotten.

        Raises:
            LakeError: no space, no permission, or anything else the system refuses, with the fix.
        """
        with self.errors_explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self.local:
                if part_of:
                    self.forget_record(part_of)
                path.write_bytes(content)
                return
            with self._unfinished_file() as made:
                made.write_bytes(content)
                if part_of:
                    self.forget_record(part_of)
                os.replace(made, path)

    @contextmanager
    def making(self, place: Place, wait: bool = True) -> Iterator[bool]:
        """Nobody else makes ``place`` meanwhile; whoever wants to waits. Processes that are killed let go.

        In a lake that is no local folder nothing can be held: there, two may make the same, and one stays.

        Args:
            place: partition.
            wait: until whoever makes it is done; else the block is told whether nobody does.
        """
        if not self.local:
            yield True
            return
        locks = Path(self.root) / ".work" / "locks"
        with self.errors_explained(UPath(locks)):
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / digest(place.folder))
            try:
                lock.acquire(blocking=wait)
            except Timeout:
                yield False
                return
        try:
            yield True
        finally:
            lock.release()

    def write_once(self, path: Path, content: bytes) -> None:
        """Put one file in place on a local disk unless there is one, by someone who was faster."""
        with self.errors_explained(UPath(path)), self._unfinished_file() as made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.write_bytes(content)
            with suppress(FileExistsError):
                os.link(made, path)

    @contextmanager
    def _unfinished_file(self) -> Iterator[Path]:
        made = unfinished(Path(self.root))
        try:
            yield made
        finally:
            made.unlink(missing_ok=True)

    @contextmanager
    def building(self, place: Place) -> Iterator[Path]:
        """An empty local folder to fill, and then to `put` at ``place``; it is gone after the block."""
        target = self.path(place)
        with self._scratch(target) as building:
            try:
                yield building
            except OSError as error:
                # Of other errors the block's own message says more.
                if error.errno in REFUSED_BY_DISK:
                    raise _explained(target, error, "write") from error
                raise

    def put_folder(self, place: Place, building: Path) -> str:
        """Move what ``building`` holds to a subfolder of ``place``, named after its fingerprint; returns that name.

        The manifest, with a checksum of every file, comes last; a reader finds the folder once a record names it.
        """
        target = self.path(place)
        version = folder_digest(building)
        files = sorted(path.relative_to(building) for path in building.rglob("*") if path.is_file())
        sha256 = {file.as_posix(): file_digest(building / file) for file in files}
        try:
            with self.errors_explained(target):
                for file in files:
                    self._move(building / file, target / version / file.as_posix())
            self.write_file(target / version / MANIFEST, json.dumps({"sha256": sha256}, indent=1).encode())
        except BaseException:
            # With a manifest it is whole: then another run has put the same there.
            with suppress(Exception):
                if not (target / version / MANIFEST).exists():
                    self._forget_folder(target / version)
            raise
        return version

    @contextmanager
    def _scratch(self, target: UPath) -> Iterator[Path]:
        """An empty local folder; on the lake's own disk if it has one, where there is room for large things."""
        if not self.local:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder)
            return
        with self.errors_explained(target):
            made = unfinished(Path(self.root))
            made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made)

    def _move(self, source: Path, target: UPath) -> None:
        if not self.local:
            target.write_bytes(source.read_bytes())
            return
        # Made again with the same content, a folder may be in use: never touch a file that is right already.
        if not target.is_file() or file_digest(Path(target)) != file_digest(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)

    def _forget_folders(self, place: Place, kept: set[str | None], forgotten: str | None) -> None:
        """Delete version ``forgotten`` of ``place`` unless it is ``kept``, and what killed runs left there.

        Another version may be another run's, which has put it there and is about to record it.
        """
        target = self.path(place)
        if not target.exists():
            return
        for folder in target.iterdir():
            is_version = folder.is_dir() and "=" not in folder.name and folder.name not in kept
            # Whoever else writes here may be faster.
            with suppress(FileNotFoundError):
                if is_version and (folder.name == forgotten or self._is_old(folder)):
                    self._forget_folder(folder)

    def _forget_folder(self, folder: UPath) -> None:
        # Whoever else writes here may be faster.
        with suppress(FileNotFoundError):
            folder.fs.rm(folder.path, recursive=True)

    def _is_old(self, folder: UPath) -> bool:
        return self.local and time.time() - folder.stat().st_mtime > SECONDS_A_FOLDER_IS_FILLED

    @contextmanager
    def folder(self, place: Place) -> Iterator[Path]:
        """The folder at ``place`` on local disk (a remote one is copied for the block's duration).

        Raises:
            AbsentError: nothing is there, or a file is not what the manifest says.
        """
        version = self.reads[place] = self.version(place)
        source = self.path(place) / version
        with tempfile.TemporaryDirectory() as scratch:
            here = Path(source) if self.local else Path(scratch)
            try:
                with self.errors_explained(source, "read"):
                    manifest = json.loads((source / MANIFEST).read_text())
                checksums = dict(manifest["sha256"])
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                raise AbsentError(f"{place} is damaged ({source / MANIFEST}): materialise it again") from None
            for name, sha256 in checksums.items():
                if not self.local:
                    (here / name).parent.mkdir(parents=True, exist_ok=True)
                    with self.errors_explained(source / name, "read"), suppress(FileNotFoundError):
                        (here / name).write_bytes((source / name).read_bytes())
                if not (here / name).is_file() or file_digest(here / name) != sha256:
                    raise AbsentError(f"{place} is damaged ({source / name}): materialise it again")
            yield here

    def _missing(self, place: Place) -> AbsentError:
        return AbsentError(f"{place} is not in {self.root}: materialise it first")

    @contextmanager
    def errors_explained(self, path: UPath, deed: Literal["read", "write"] = "write") -> Iterator[None]:
        """Say in one line what the system or an S3 server refuses in the block; that a file is not there passes a read.

        Raises:
            PassingError: the server did not answer, or not with a refusal.
            LakeError: anything else.
        """
        try:
            yield
        except LakeError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            if deed == "read":
                raise
            raise _explained(path, OSError(errno.ENOENT, "no such folder"), deed) from None
        except Exception as error:
            # S3 clients have errors of their own; on a local disk anything but an OSError is a mistake of ours.
            if self.local and not isinstance(error, OSError):
                raise
            explained = _explained(path, error, deed)
            if not self.local and _may_pass(error):
                raise PassingError(str(explained)) from error
            raise explained from error


def recorded_as(place: Place) -> Place:
    """The asset whose record tells of ``place``."""
    table = TABLES.get(place.table)
    return Place(place.experiment, table.beside, place.partition) if table and table.beside else place


def _may_pass(error: BaseException) -> bool:
    """Whether another try may succeed: the S3 server did not answer, or said that it cannot now."""
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError

    for known in (error, error.__cause__):
        response = getattr(known, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status >= 500 or status in (408, 429)
        if isinstance(known, NoConnection | HTTPClientError | ConnectionError | TimeoutError):
            return True
    return False


def _explained(path: UPath, error: Exception, deed: str) -> LakeError:
    reason = " ".join((getattr(error, "strerror", None) or str(error)).lower().split())
    if deed == "read":
        return LakeError(f"cannot read {path}: {reason}; mend that, or set SL_DATA_LAKE to another place")
    return LakeError(
        f"cannot write {path}: {reason}; nothing was changed there. "
        "Make room or mend the permissions, or set SL_DATA_LAKE to another place"
    )


def parquet_bytes(frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """``frame`` as a Parquet file, to be put in place whole."""
    data = io.BytesIO()
    frame.write_parquet(data, metadata=metadata)
    return data.getvalue()
