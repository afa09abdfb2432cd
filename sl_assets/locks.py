"""Locks on files, which the system takes back from a process that dies, whatever it was at."""

from pathlib import Path

from filelock import FileLock, Timeout


def try_lock(lock: FileLock) -> bool:
    """Take ``lock`` if nobody has it; returns whether it was taken."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process has locked the file."""
    if not path.exists():
        return False
    lock = FileLock(path, mode=0o666, thread_local=False)
    if not try_lock(lock):
        return True
    lock.release()
    return False
