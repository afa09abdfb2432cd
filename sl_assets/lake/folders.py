"""Folders with a manifest: versions of one partition's files, each below its fingerprint.

The manifest, with a checksum of every file, is put there last. A folder of another version is put beside the one that
is there, so that whoever reads that goes on.
"""

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from upath import UPath

from sl_assets.lake.damage import DamageError
from sl_assets.lake.fingerprint import file_digest, folder_digest
from sl_assets.lake.storage import Storage

MANIFEST = "manifest.json"
SECONDS_A_FOLDER_IS_FILLED = 86_400
"""After which one that no record names was left by a run that was killed."""


def put_folder(storage: Storage, target: UPath, building: Path) -> str:
    """Move what ``building`` holds to a subfolder of ``target``, named after its fingerprint; returns that name."""
    version = folder_digest(building)
    files = sorted(path.relative_to(building) for path in building.rglob("*") if path.is_file())
    sha256 = {file.as_posix(): file_digest(building / file) for file in files}
    try:
        with storage.errors_explained(target):
            for file in files:
                storage.move(building / file, target / version / file.as_posix())
        storage.put(target / version / MANIFEST, json.dumps({"sha256": sha256}, indent=1).encode())
    except BaseException:
        # With a manifest it is whole: then another run has put the same there.
        with suppress(Exception):
            if not (target / version / MANIFEST).exists():
                storage.delete(target / version)
        raise
    return version


def checked_folder(storage: Storage, source: UPath, scratch: Path) -> Path:
    """The folder ``source``, whose files are what its manifest says; a remote one is copied to ``scratch``.

    Raises:
        DamageError: they are not.
    """
    here = Path(source) if storage.local else scratch
    try:
        manifest = json.loads(storage.read(source / MANIFEST))
        checksums = dict(manifest["sha256"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise DamageError(str(source / MANIFEST)) from None
    for name, sha256 in checksums.items():
        if not storage.local:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                (here / name).write_bytes(storage.read(source / name))
        if not (here / name).is_file() or file_digest(here / name) != sha256:
            raise DamageError(str(source / name))
    return here


def take_files(source: Path, target: Path) -> None:
    """Put the files of a whole folder into ``target`` as well, without its manifest.

    As further links where the disk has them: a file that was put in place is never changed.
    """
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        if file == source / MANIFEST:
            continue
        there = target / file.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, there)
        except OSError:
            shutil.copyfile(file, there)


def forget_folders(storage: Storage, target: UPath, kept: set[str | None], forgotten: str | None) -> None:
    """Delete version ``forgotten`` below ``target`` unless it is ``kept``, and what killed runs left there.

    Another version may be another run's, which has put it there and is about to record it.
    """
    if not target.exists():
        return
    for folder in target.iterdir():
        is_version = folder.is_dir() and "=" not in folder.name and folder.name not in kept
        # Whoever else writes here may be faster.
        with suppress(FileNotFoundError):
            if is_version and (folder.name == forgotten or is_left(storage, folder)):
                storage.delete(folder)


def is_left(storage: Storage, folder: UPath) -> bool:
    """Whether ``folder`` was filled so long ago that nobody does so any more."""
    return time.time() - storage.last_change(folder) > SECONDS_A_FOLDER_IS_FILLED
