"""Work in progress: what an interrupted step has finished of a partition, kept until the partition is recorded.

It lives in the lake (``<root>/.work``), so a run that is killed on one machine can go on from another.
"""

import hashlib
import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from sl_assets.lake.damage import DamageError
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.folders import checked_folder, put_folder, take_files
from sl_assets.lake.lake import Lake
from sl_assets.lake.parquet import parquet_bytes
from sl_assets.lake.places import Place

CHECKED = b"SHA-256\n"
"""What the file of a piece begins with; then come the 32 bytes of its checksum, and the piece."""


FORMER = (b"PAR1", b"{")
"""What tables and notes of jobs begin with that were kept, and perhaps paid, before pieces had a checksum."""


class Work:
    """Finished pieces of one partition of one asset.

    Pieces are stored under a fingerprint of what decides their content, the asset's code and settings included: a
    changed prompt, setting or parent finds no old piece to reuse.
    """

    def __init__(self, lake: Lake, place: Place, made_by: str = "") -> None:
        self._lake = lake
        self._made_by = made_by
        self._folder: UPath = lake.root / ".work" / place.folder

    def load(self, name: str, *fingerprint: Any) -> pl.DataFrame | None:
        """The piece ``name``, or None if it was not finished under this fingerprint, or is damaged."""
        content = self.load_bytes(f"{name}.parquet", *fingerprint)
        with suppress(pl.exceptions.PolarsError):
            return None if content is None else pl.read_parquet(io.BytesIO(content))
        return None

    def save(self, name: str, frame: pl.DataFrame, *fingerprint: Any) -> None:
        """Keep a finished piece."""
        self.save_bytes(f"{name}.parquet", parquet_bytes(frame), *fingerprint)

    def load_bytes(self, file: str, *fingerprint: Any) -> bytes | None:
        """The piece ``file``, which need be no table; see `load`."""
        try:
            found = self._lake.read(self._path(file, fingerprint))
        except FileNotFoundError:
            return None
        if not found.startswith(CHECKED):
            return found if found.startswith(FORMER) else None
        sha256, content = found[len(CHECKED) :][:32], found[len(CHECKED) + 32 :]
        return content if hashlib.sha256(content).digest() == sha256 else None

    def save_bytes(self, file: str, content: bytes, *fingerprint: Any) -> None:
        """Keep a finished piece that is no table."""
        checked = CHECKED + hashlib.sha256(content).digest() + content
        self._lake.write_file(self._path(file, fingerprint), checked)

    def load_folder(self, name: str, target: Path, *fingerprint: Any) -> bool:
        """Put the files of the piece ``name``, a folder, into ``target``; False if there is none, or a damaged one."""
        for version in self._lake.folders(self._path(name, fingerprint), ""):
            with suppress(DamageError), tempfile.TemporaryDirectory() as scratch:
                take_files(checked_folder(self._lake, version, Path(scratch)), target)
                return True
        return False

    def save_folder(self, name: str, folder: Path, *fingerprint: Any) -> None:
        """Keep a finished piece that is a folder; its files stay where they are, too."""
        path = self._path(name, fingerprint)
        with self._lake.scratch(path) as building:
            take_files(folder, building)
            put_folder(self._lake, path, building)

    def _path(self, file: str, fingerprint: tuple[Any, ...]) -> UPath:
        # A piece may be named after a partition of two keys, and not every file system has "|" in names.
        return self._folder / digest(self._made_by, *fingerprint) / file.replace("|", "/")

    def clear(self) -> None:
        """Forget everything: the partition is recorded."""
        # Another run of the same partition may be clearing it too.
        with suppress(FileNotFoundError), self._lake.errors_explained(self._folder, "read"):
            self._folder.fs.rm(self._folder.path, recursive=True)
