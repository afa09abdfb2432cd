"""Signs of life of work that takes long, by which what hangs is told from it."""

import time

_seen = [time.monotonic()]


def alive() -> None:
    """Say that the work in this process has come further, or that whoever it waits for still answers."""
    _seen[0] = time.monotonic()


def silent_seconds() -> float:
    """How long ago this process was last said to be `alive`."""
    return time.monotonic() - _seen[0]
