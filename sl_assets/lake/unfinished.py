"""Where files and folders are made before they are put in place, under names that tell who is at work on them.

A process that is killed leaves what it was making behind; by the name, the next one knows that nobody needs it.
"""

import shutil
import socket
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

UNFINISHED = ".work/unfinished"
"""Folder below a lake's root."""

CLOCK_SECONDS = 2.0
"""How far two readings of one process's start may lie apart."""


def this_host() -> str:
    """What tells processes of equal number apart: the host's name, and within it the container's process numbers."""
    numbers = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}-{numbers.stat().st_ino}" if numbers.exists() else socket.gethostname()


def unfinished(root: Path) -> Path:
    """A new name below ``root``, on the disk of what it is for."""
    process = psutil.Process()
    folder = root / UNFINISHED
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{this_host()} {process.pid} {_start(process)} {uuid.uuid4().hex}"


def remove_orphans(root: Path) -> None:
    """Remove what processes of this host were making below ``root`` when they were killed."""
    for path in (root / UNFINISHED).glob(f"{this_host()} *"):
        _, pid, start, _ = path.name.split()
        if is_alive(int(pid), float(start)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_alive(pid: int, start: float) -> bool:
    """Whether the process with id ``pid`` that began ``start`` seconds after the system still runs."""
    # Process ids are used again, so the start has to match too.
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # One that was killed keeps its id until its parent asks for it, which some never do.
        return abs(_start(process) - start) < CLOCK_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    return False


def _start(process: psutil.Process) -> float:
    # Counted from the system's own start: both move when the clock is set, and the process is the same.
    return process.create_time() - psutil.boot_time()
