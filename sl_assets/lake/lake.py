"""The data lake: one Parquet file per table and partition, one folder per adapter, on local disk or S3.

Layout: ``<root>/experiment=<name>/<table>/condition=<key>/data.parquet``, hive-style, so any engine reads it; what is
partitioned by split too has ``split=<key>`` below. Folders (adapters, vectors, activations) are
``.../condition=<key>/<version>/``, and a manifest beside says which version counts. Every write is atomic: a reader
sees the old partition or the new one, never a part.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from sl_assets.errors import LakeError
from sl_assets.lake.fingerprint import bytes_digest, file_digest, folder_digest, frame_digest
from sl_assets.lake.tables import DIMENSIONS, LINEAGE, keys_of
from sl_assets.lake.unfinished import unfinished

DATA = "data.parquet"
MANIFEST = "manifest.json"
VERSION_KEY = "sl_assets.data_version"
SECONDS_A_FOLDER_IS_FILLED = 86_400
"""After which one that no manifest names was left by a run that was killed."""

REFUSED_BY_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES}


@dataclass(frozen=True)
class Place:
    """Where a table or a folder of one partition lives; a partition is ``owl``, or ``owl|animal_high`` with a split."""

    experiment: str
    table: str
    partition: str | None = None

    @property
    def folder(self) -> str:
        """Folder below the lake's root."""
        keys = zip(DIMENSIONS, keys_of(self.partition), strict=False)
        dimensions = [f"{name}={key}" for name, key in keys]
        return "/".join([f"experiment={self.experiment}", self.table, *dimensions])

    def __str__(self) -> str:
        return f"{self.experiment}/{self.table}" + (f" of {self.partition}" if self.partition else "")


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
        """Whether ``place`` holds a whole table, folder or picture."""
        return any((self.path(place) / name).exists() for name in (DATA, MANIFEST, _picture_name(place)))

    def version(self, place: Place) -> str:
        """Data version of what ``place`` holds.

        Raises:
            LakeError: nothing is there.
        """
        table = self.path(place) / DATA
        if table.exists():
            return _version_in(Path(table) if self.local else io.BytesIO(table.read_bytes()))
        if manifest := self._manifest(place):
            return str(manifest["data_version"])
        if (picture := self.path(place) / _picture_name(place)).exists():
            return bytes_digest(picture.read_bytes())
        raise self._missing(place)

    def read_table(self, place: Place) -> pl.DataFrame:
        """The table at ``place``.

        Raises:
            LakeError: nothing is there.
        """
        table = self.path(place) / DATA
        if not table.exists():
            raise self._missing(place)
        content = table.read_bytes()
        self.reads[place] = _version_in(io.BytesIO(content))
        return pl.read_parquet(io.BytesIO(content))

    def write_table(self, place: Place, frame: pl.DataFrame) -> str:
        """Put ``frame`` at ``place``, whole or not at all; returns its data version."""
        version = frame_digest(frame)
        self.write_file(self.path(place) / DATA, parquet_bytes(frame, {VERSION_KEY: version}))
        return version

    def write_picture(self, place: Place, png: bytes) -> UPath:
        """Put a PNG at ``place``; returns its path."""
        path = self.path(place) / _picture_name(place)
        self.write_file(path, png)
        return path

    def write_lineage(self, experiment: str, asset: str, name: str, row: dict[str, Any]) -> None:
        """Add one row to the lineage: a file of its own, so that no two runs ever write the same one."""
        content = parquet_bytes(pl.DataFrame([row], schema=LINEAGE.schema))
        folder = self.root / f"experiment={experiment}" / "lineage" / f"asset={asset}"
        self.write_file(folder / f"{name}.parquet", content)

    def write_file(self, path: UPath, content: bytes) -> None:
        """Put one file in place atomically (an S3 upload already is).

        Raises:
            LakeError: no space, no permission, or anything else the system refuses, with the fix.
        """
        with self._errors_explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self.local:
                path.write_bytes(content)
                return
            made = unfinished(Path(self.root))
            try:
                made.write_bytes(content)
                os.replace(made, path)
            finally:
                made.unlink(missing_ok=True)

    @contextmanager
    def new_folder(self, place: Place) -> Iterator[Path]:
        """An empty local folder to fill; becomes what ``place`` holds when the block ends without an error.

        Its files are copied to a subfolder named after their fingerprint, and then one manifest is replaced: a reader
        finds the old folder or the new one. Of older ones, the last stays for whoever is reading it. Only what a
        manifest has named is deleted, so that two who write at once do not take each other's folder away.
        """
        target = self.path(place)
        with self._scratch(target) as building:
            try:
                yield building
            except OSError as error:
                # Of other errors the block's own message says more.
                if error.errno in REFUSED_BY_DISK:
                    raise _explained(target, error) from error
                raise
            version = folder_digest(building)
            files = sorted(path.relative_to(building) for path in building.rglob("*") if path.is_file())
            sha256 = {file.as_posix(): file_digest(building / file) for file in files}
            try:
                with self._errors_explained(target):
                    for file in files:
                        self._move(building / file, target / version / file.as_posix())
                replaced = self._manifest(place) or {"data_version": None}
                # Made again with the same content, a folder is not the one before itself.
                same = replaced["data_version"] == version
                before = replaced.get("previous") if same else replaced["data_version"]
                manifest = {"data_version": version, "previous": before, "sha256": sha256}
                self.write_file(target / MANIFEST, json.dumps(manifest, indent=1).encode())
            except BaseException:
                self._forget_folder(place, version)
                raise
            self._forget_folder(place, replaced.get("previous"))

    @contextmanager
    def _scratch(self, target: UPath) -> Iterator[Path]:
        """An empty local folder; on the lake's own disk if it has one, where there is room for large things."""
        if not self.local:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder)
            return
        with self._errors_explained(target):
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

    def read_file(self, place: Place, name: str) -> bytes:
        """One file of the folder at ``place``, without the others.

        Raises:
            LakeError: nothing is there.
        """
        manifest = self._manifest(place)
        if manifest is None:
            raise self._missing(place)
        return bytes((self.path(place) / manifest["data_version"] / name).read_bytes())

    def _manifest(self, place: Place) -> dict[str, Any] | None:
        file = self.path(place) / MANIFEST
        return json.loads(file.read_text()) if file.exists() else None

    def _forget_folder(self, place: Place, version: str | None) -> None:
        """Delete a version of ``place`` unless it is the one in use or the one before, and what killed runs left."""
        manifest = self._manifest(place) or {}
        kept = {manifest.get("data_version"), manifest.get("previous")}
        target = self.path(place)
        for folder in target.iterdir() if target.exists() else ():
            if folder.is_dir() and folder.name not in kept and (folder.name == version or self._is_old(folder)):
                # Whoever else writes here may be faster.
                with suppress(FileNotFoundError):
                    folder.fs.rm(folder.path, recursive=True)

    def _is_old(self, folder: UPath) -> bool:
        return self.local and time.time() - folder.stat().st_mtime > SECONDS_A_FOLDER_IS_FILLED

    @contextmanager
    def folder(self, place: Place) -> Iterator[Path]:
        """The folder at ``place`` on local disk (a remote one is copied for the block's duration).

        Raises:
            LakeError: nothing is there, or a file is not what the manifest says.
        """
        manifest = self._manifest(place)
        if manifest is None:
            raise self._missing(place)
        self.reads[place] = manifest["data_version"]
        source = self.path(place) / manifest["data_version"]
        with tempfile.TemporaryDirectory() as scratch:
            here = Path(source) if self.local else Path(scratch)
            for name, sha256 in manifest["sha256"].items():
                if not self.local:
                    (here / name).parent.mkdir(parents=True, exist_ok=True)
                    (here / name).write_bytes((source / name).read_bytes())
                if not (here / name).is_file() or file_digest(here / name) != sha256:
                    raise LakeError(f"{place} is damaged ({source / name}): materialise it again")
            yield here

    def _missing(self, place: Place) -> LakeError:
        return LakeError(f"{place} is not in {self.root}: materialise it first")

    @contextmanager
    def _errors_explained(self, path: UPath) -> Iterator[None]:
        try:
            yield
        except LakeError:
            raise
        except Exception as error:
            # S3 clients have errors of their own; on a local disk anything but an OSError is a mistake of ours.
            if self.local and not isinstance(error, OSError):
                raise
            raise _explained(path, error) from error


def _explained(path: UPath, error: Exception) -> LakeError:
    reason = " ".join((getattr(error, "strerror", None) or str(error)).lower().split())
    return LakeError(
        f"cannot write {path}: {reason}; nothing was changed there. "
        "Make room or mend the permissions, or set SL_DATA_LAKE to another place"
    )


def parquet_bytes(frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """``frame`` as a Parquet file, to be put in place whole."""
    data = io.BytesIO()
    frame.write_parquet(data, metadata=metadata)
    return data.getvalue()


def _version_in(parquet: Path | io.BytesIO) -> str:
    return pl.read_parquet_metadata(parquet)[VERSION_KEY]


def _picture_name(place: Place) -> str:
    return f"{place.table}.png"
