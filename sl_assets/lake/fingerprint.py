"""Content fingerprints: row ids, data versions and code versions."""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs
import polars as pl

ROWS_AT_ONCE = 100_000


def digest(*parts: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of ``parts`` as JSON (keys sorted, so dict order does not matter)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def bytes_digest(content: bytes) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of ``content``."""
    return sha256_of(content)[:16]


def sha256_of(content: bytes) -> str:
    """SHA-256 of ``content``, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def frame_digest(frame: pl.DataFrame) -> str:
    """Fingerprint of a table's column names, types and rows; the same whatever writes the Parquet file."""
    # JSON has one null for what is missing and for floats that are no number; as text they differ.
    floats = frame.select(pl.selectors.float())
    odd = [column.name for column in floats if not column.is_finite().all()]
    content = hashlib.sha256(json.dumps([(name, str(dtype)) for name, dtype in frame.schema.items()]).encode())
    # As text a table takes several times the memory that it does as a frame.
    for part in frame.iter_slices(ROWS_AT_ONCE):
        rows = io.BytesIO()
        part.with_columns(pl.col(odd).cast(pl.String)).write_ndjson(rows)
        content.update(rows.getbuffer())
    return content.hexdigest()[:16]


def folder_digest(folder: Path) -> str:
    """Fingerprint of every file below ``folder``: relative names and bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return files_digest({path.relative_to(folder).as_posix(): file_digest(path) for path in files})


def files_digest(checksums: Mapping[str, str]) -> str:
    """Fingerprint of a folder whose files have these ``checksums``, in the order of their names."""
    return digest(*checksums.items())


def file_digest(path: Path) -> str:
    """SHA-256 of one file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_file_digest(path: Path) -> str:
    """As `file_digest`, of a large file that seldom changes: read once, and again when its inode, size or time differ.

    What was read is remembered in this user's cache folder, by every process.
    """
    state = path.stat()
    seen = [state.st_size, state.st_mtime_ns, state.st_ino]
    memory = Path(platformdirs.user_cache_dir("sl_assets")) / "file_digests" / f"{digest(str(path.absolute()))}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(memory.read_text())
        if known["seen"] == seen:
            return str(known["sha256"])
    sha256 = file_digest(path)
    # A cache that cannot be written costs time and nothing else.
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        beside = memory.with_suffix(f".{uuid.uuid4().hex}")
        beside.write_text(json.dumps({"seen": seen, "sha256": sha256, "path": str(path.absolute())}))
        os.replace(beside, memory)
    return sha256
