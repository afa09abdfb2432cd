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
from sl_assets.lake.fingerprint import file_digest, files_digest
from sl_assets.lake.stamps import Stamp
from sl_assets.lake.storage import Storage

MANIFEST = "manifest.json"
SECONDS_OF_A_TICK = 2.0
"""So coarse may the times of a disk's files be."""

SECONDS_A_FOLDER_IS_FILLED = 86_400
"""After which one that no record names was left by a run that was killed."""


def put_folder(storage: Storage, target: UPath, building: Path) -> tuple[str, dict[str, Stamp]]:
    """Move what ``building`` holds to a subfolder of ``target``, named after its fingerprint.

    Returns:
        That name, and what was put there, the manifest included, by path below ``target``.
    """
    files = sorted(path.relative_to(building) for path in building.rglob("*") if path.is_file())
    stamps = {file.as_posix(): Stamp.of_file(building / file) for file in files}
    sha256 = {name: stamp.sha256 for name, stamp in stamps.items()}
    version, manifest = files_digest(sha256), json.dumps({"sha256": sha256}, indent=1).encode()
    try:
        with storage.errors_explained(target):
            for name in stamps:
                storage.move(building / name, target / version / name)
        storage.put(target / version / MANIFEST, manifest)
    except BaseException:
        # With a manifest it is whole: then another run has put the same there.
        with suppress(Exception):
            if not (target / version / MANIFEST).exists():
                storage.delete(target / version)
        raise
    stamps[MANIFEST] = Stamp.of(manifest)
    return version, {f"{version}/{name}": stamp for name, stamp in stamps.items()}


_seen: dict[Path, tuple[tuple[int, int, int], str]] = {}
"""Of files that this process has read: size, time and inode, by which another is known, and the checksum."""


def _seen_digest(file: Path) -> str:
    """As `file_digest`, but read once a process for as long as the file is the same: adapters and states are large."""
    state = file.stat()
    marks = (state.st_size, state.st_mtime_ns, state.st_ino)
    known, sha256 = _seen.get(file, (None, ""))
    if known != marks:
        sha256 = file_digest(file)
        # Within a tick of the clock a file may change and keep its time.
        if time.time() - state.st_mtime > SECONDS_OF_A_TICK:
            _seen[file] = marks, sha256
    return sha256


def checked_folder(storage: Storage, source: UPath, scratch: Path) -> Path:
    """The folder ``source``, which is named after what it holds; a remote one is copied to ``scratch``.

    Its files are what the manifest says, and the manifest is the one that gave the folder its name.

    Raises:
        DamageError: they are not.
    """
    here = Path(source) if storage.local else scratch
    try:
        manifest = json.loads(storage.read(source / MANIFEST))
        checksums = dict(manifest["sha256"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise DamageError(f"{source / MANIFEST}: no list of checksums") from None
    if files_digest(checksums) != source.name:
        raise DamageError(f"{source / MANIFEST}: not the list that the folder is named after")
    for name, sha256 in checksums.items():
        if not storage.local:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                (here / name).write_bytes(storage.read(source / name))
        if not (here / name).is_file():
            raise DamageError(f"{source / name}: no such file")
        if (found := _seen_digest(here / name)) != sha256:
            size = (here / name).stat().st_size
            raise DamageError(f"{source / name}: SHA-256 {found[:12]}… of {size:,} bytes, and not {sha256[:12]}…")
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
