"""Files on a local disk or on S3, each put in place whole: a reader never sees a part of one."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Literal
from unicodedata import category

from filelock import FileLock
from upath import UPath

from sl_assets.errors import LakeError
from sl_assets.lake.fingerprint import digest, file_digest
from sl_assets.lake.refusals import refusals_explained
from sl_assets.lake.unfinished import UNFINISHED, unfinished
from sl_assets.locks import try_lock

REFUSED_IN_FOLDERS = {"?": "a question mark", "\\": "a backslash"}
"""What DuckDB can open no file below."""

REFUSED_IN_S3 = REFUSED_IN_FOLDERS | {"*": "a star", "[": "a bracket", "]": "a bracket"}
"""What its client takes for a pattern, and would delete what that fits."""


class Storage:
    """Files below ``root``, a folder or an ``s3://bucket/prefix``.

    Raises:
        LakeError: ``root`` has a character that DuckDB or the client of S3 takes for another.
    """

    def __init__(self, root: str) -> None:
        self.local = UPath(root).protocol in ("", "file")
        if self.local:
            self.root = UPath(Path(UPath(root).path).expanduser().absolute())
        else:
            # Others write there too: what a folder holds is asked anew every time.
            self.root = UPath(root.rstrip("/"), use_listings_cache=False)
        _require_characters(str(self.root), REFUSED_IN_FOLDERS if self.local else REFUSED_IN_S3)

    def errors_explained(self, path: UPath, deed: Literal["read", "write"] = "write") -> AbstractContextManager[None]:
        """Say in one line what is refused in the block; see `refusals_explained`."""
        return refusals_explained(path, deed, self.local)

    def read(self, path: UPath) -> bytes:
        """The content of a file, as it is at one moment.

        Raises:
            FileNotFoundError, NotADirectoryError: there is none.
            LakeError: it cannot be read.
        """
        with self.errors_explained(path, "read"):
            # In one request: S3 may be given another content between two.
            return bytes(path.fs.cat_file(path.path))

    def put(self, path: UPath, content: bytes, just_before: Callable[[], None] | None = None) -> None:
        """Put one file in place atomically; ``just_before`` is called once the disk or the server has its content.

        Raises:
            LakeError: no space, no permission, or anything else the system refuses, with the fix.
        """
        with self.errors_explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self.local and just_before is None:
                # An upload is atomic as it is.
                path.write_bytes(content)
                return
            with self._unfinished_file() as made:
                made.write_bytes(content)
                if just_before:
                    just_before()
                if self.local:
                    os.replace(made, path)
                else:
                    path.fs.cp_file(made.path, path.path)

    def put_once(self, path: UPath, content: bytes) -> None:
        """Put one file in place unless there is one, by someone who was faster."""
        with self.errors_explained(path), suppress(FileExistsError):
            if not self.local:
                path.fs.pipe_file(path.path, content, mode="create")
                return
            with self._unfinished_file() as made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.write_bytes(content)
                os.link(made, path)

    @contextmanager
    def _unfinished_file(self) -> Iterator[UPath]:
        made = UPath(unfinished(Path(self.root))) if self.local else self.root / UNFINISHED / uuid.uuid4().hex
        try:
            yield made
        finally:
            # What cannot be deleted is in nobody's way, and pruned.
            with suppress(Exception):
                made.unlink(missing_ok=True)

    def move(self, source: Path, target: UPath) -> None:
        """Put the finished file ``source`` in place; in S3, a copy of it."""
        if not self.local:
            target.write_bytes(source.read_bytes())
            return
        # Made again with the same content, a folder may be in use: never touch a file that is right already.
        if not target.is_file() or file_digest(Path(target)) != file_digest(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)

    def folders(self, above: UPath, beginning: str) -> list[UPath]:
        """Folders directly in ``above`` with names that begin so, sorted; none where there is no ``above``."""
        # Not by a pattern, for a root may hold characters that mean something in one.
        with self.errors_explained(above, "read"), suppress(FileNotFoundError, NotADirectoryError):
            return sorted(child for child in above.iterdir() if child.name.startswith(beginning) and child.is_dir())
        return []

    def last_change(self, folder: UPath) -> float:
        """When the newest file in ``folder`` was put there, in seconds since 1970; if it has none, when it was made."""
        found = folder.fs.find(folder.path, detail=True).values()
        times = [file["mtime"] if self.local else file["LastModified"].timestamp() for file in found]
        return float(max(times) if times else folder.stat().st_mtime)

    def delete(self, folder: UPath) -> None:
        """Delete ``folder``, if nobody was faster."""
        with suppress(FileNotFoundError):
            folder.fs.rm(folder.path, recursive=True)

    @contextmanager
    def scratch(self, target: UPath) -> Iterator[Path]:
        """An empty local folder; on the storage's own disk if it has one, where there is room for large things."""
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

    @contextmanager
    def held(self, name: str, wait: bool = True) -> Iterator[bool]:
        """Nobody else holds ``name`` meanwhile; processes that are killed let go. In S3 nothing can be held.

        Args:
            name: what is held.
            wait: until whoever holds it lets go; else the block is told whether nobody does.
        """
        if not self.local:
            yield True
            return
        locks = Path(self.root) / ".work" / "locks"
        with self.errors_explained(UPath(locks)):
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / digest(name))
            if wait:
                lock.acquire()
            ours = wait or try_lock(lock)
        if not ours:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def _require_characters(root: str, refused: Mapping[str, str]) -> None:
    unreadable = {character: "a control character" for character in root if category(character) in ("Cc", "Cs")}
    names = unreadable | dict(refused)
    for character in sorted(names.keys() & set(root)):
        raise LakeError(
            f"SL_DATA_LAKE = {root!r}: a lake cannot lie below {names[character]} ({character!r}): rename the folder, "
            "or set SL_DATA_LAKE to another"
        )
