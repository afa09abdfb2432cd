"""The data lake: one Parquet file per table and partition, one folder per adapter, on local disk or S3.

Layout: ``<root>/experiment=<name>/<table>/condition=<key>/data.parquet``, hive-style, so any engine reads it. Every
write is atomic: a reader sees the old partition or the new one, never a part. The fingerprint of a table travels in
its Parquet metadata, that of a folder in its manifest.
"""

import io
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from upath import UPath

from sl_assets.errors import LakeError
from sl_assets.lake.fingerprint import file_digest, folder_digest, frame_digest

DATA = "data.parquet"
MANIFEST = "manifest.json"
VERSION_KEY = "sl_assets.data_version"


@dataclass(frozen=True)
class Place:
    """Where a table or a folder of one partition lives."""

    experiment: str
    table: str
    condition: str | None = None

    @property
    def folder(self) -> str:
        """Folder below the lake's root."""
        parts = [f"experiment={self.experiment}", self.table]
        return "/".join(parts + ([f"condition={self.condition}"] if self.condition else []))

    def __str__(self) -> str:
        return f"{self.experiment}/{self.table}" + (f" of {self.condition}" if self.condition else "")


class Lake:
    """A data lake at ``root``, a folder or an ``s3://bucket/prefix``.

    Attributes:
        reads: data version of every place read so far through this object; the lineage of what is written next.
    """

    def __init__(self, root: str) -> None:
        self.root = UPath(root)
        self.local = self.root.protocol in ("", "file")
        if self.local:
            self.root = UPath(Path(root).expanduser().absolute())
        self.reads: dict[Place, str] = {}

    def path(self, place: Place) -> UPath:
        """Folder of ``place``."""
        return self.root / place.folder

    def exists(self, place: Place) -> bool:
        """Whether ``place`` holds a whole table or folder."""
        return any((self.path(place) / name).exists() for name in (DATA, MANIFEST))

    def version(self, place: Place) -> str:
        """Data version of what ``place`` holds.

        Raises:
            LakeError: nothing is there.
        """
        table, manifest = self.path(place) / DATA, self.path(place) / MANIFEST
        if table.exists():
            return pl.read_parquet_metadata(io.BytesIO(table.read_bytes()))[VERSION_KEY]
        if manifest.exists():
            return str(json.loads(manifest.read_text())["data_version"])
        raise LakeError(f"{place} is not in {self.root}: materialise it first")

    def read_table(self, place: Place) -> pl.DataFrame:
        """The table at ``place``.

        Raises:
            LakeError: nothing is there.
        """
        self.reads[place] = self.version(place)
        return pl.read_parquet(io.BytesIO((self.path(place) / DATA).read_bytes()))

    def write_table(self, place: Place, frame: pl.DataFrame) -> str:
        """Put ``frame`` at ``place``, whole or not at all; returns its data version."""
        version = frame_digest(frame)
        data = io.BytesIO()
        frame.write_parquet(data, metadata={VERSION_KEY: version})
        self.write_file(self.path(place) / DATA, data.getvalue())
        return version

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
            # The process id and a random part keep sixteen writers of one partition out of each other's way.
            beside = Path(path.parent) / f".{path.name}.{uuid.uuid4().hex}"
            try:
                beside.write_bytes(content)
                os.replace(beside, path)
            finally:
                beside.unlink(missing_ok=True)

    @contextmanager
    def new_folder(self, place: Place) -> Iterator[Path]:
        """An empty local folder to fill; moved to ``place`` with a manifest when the block ends without an error."""
        target = self.path(place)
        with self._errors_explained(target):
            if self.local:
                target.parent.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent if self.local else None))
        try:
            with self._errors_explained(target):
                yield building
                self._seal(building)
                self._move(building, target)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _seal(self, folder: Path) -> None:
        files = {p.relative_to(folder).as_posix(): file_digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}
        manifest = {"data_version": folder_digest(folder), "sha256": files}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))

    def _move(self, folder: Path, target: UPath) -> None:
        if self.local:
            old = Path(f"{folder}.old")
            if target.exists():
                os.replace(target, old)
            folder.chmod(0o755)
            os.replace(folder, target)
            shutil.rmtree(old, ignore_errors=True)
            return
        # A remote folder counts from the moment its manifest arrives, so that goes first out and last in.
        (target / MANIFEST).unlink(missing_ok=True)
        files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.name == MANIFEST)
        for file in files:
            (target / file.relative_to(folder).as_posix()).write_bytes(file.read_bytes())

    @contextmanager
    def folder(self, place: Place) -> Iterator[Path]:
        """The folder at ``place`` on local disk (a remote one is copied for the block's duration).

        Raises:
            LakeError: nothing is there, or a file is not what the manifest says.
        """
        source = self.path(place)
        if not (source / MANIFEST).exists():
            raise LakeError(f"{place} is not in {self.root}: materialise it first")
        manifest = json.loads((source / MANIFEST).read_text())
        self.reads[place] = manifest["data_version"]
        with tempfile.TemporaryDirectory() as scratch:
            here = Path(source) if self.local else Path(scratch)
            for name, sha256 in manifest["sha256"].items():
                if not self.local:
                    (here / name).parent.mkdir(parents=True, exist_ok=True)
                    (here / name).write_bytes((source / name).read_bytes())
                if not (here / name).is_file() or file_digest(here / name) != sha256:
                    raise LakeError(f"{place} is damaged ({source / name}): materialise it again")
            yield here

    @contextmanager
    def _errors_explained(self, path: UPath) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise LakeError(
                f"cannot write {path}: {reason}; nothing was changed there. "
                "Make room or mend the permissions, or set SL_DATA_LAKE to another place"
            ) from error
