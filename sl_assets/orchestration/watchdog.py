"""Ends work that hangs: a deadlocked engine would otherwise hold its GPU, and the queue behind it, for ever.

Work is silent if it reports no progress, writes no line, and nobody whom it waits for answers. Where it is silent for
too long, the stacks of its threads, and of the engines' own processes, go to the run's standard error, and an error is
raised in the middle of it. What cannot be interrupted even so, such as a call of a driver, ends with the process.
"""

import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sl_assets.config.variables import number
from sl_assets.engines.helper_process import dump_helpers
from sl_assets.errors import SlAssetsError
from sl_assets.liveness import alive, silent_seconds
from sl_assets.orchestration.durations import duration

MINUTES = "SL_STALL_MINUTES"
"""Variable: after so many minutes of silence work is ended; 0 for never."""

DEFAULT_MINUTES = 30.0

GRACE_SECONDS = 60.0
"""What an error in the middle of the work has to end it in."""

SIGNAL = signal.SIGUSR2
STANDARD_ERROR = 2


class StalledError(SlAssetsError):
    """Work was silent for too long."""


@contextmanager
def watched(name: str, give_up: Callable[[str], None], grace: float = GRACE_SECONDS) -> Iterator[None]:
    """End the block if it is silent for longer than the environment allows.

    Args:
        name: of what is made, for the user.
        give_up: told why, just before this process ends because the error could not be raised.
        grace: seconds that the error has.

    Raises:
        StalledError: it was.
        SlAssetsError: the environment has no number of minutes.
    """
    limit = 60 * number(MINUTES, DEFAULT_MINUTES)
    if not limit:
        yield
        return
    over, reasons = threading.Event(), list[str]()

    def watch() -> None:
        while (left := limit - silent_seconds()) > 0:
            if over.wait(left):
                return
        reasons.append(_reason(name, silent_seconds()))
        faulthandler.dump_traceback(STANDARD_ERROR)
        dump_helpers()
        if in_main:
            signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)
        if not over.wait(grace):
            give_up(reasons[0])
            os._exit(1)

    def interrupt(_: int, __: FrameType | None) -> None:
        # It may have ended by itself since the signal was sent.
        if not over.is_set():
            raise StalledError(reasons[0])

    # Python lets no other thread be interrupted.
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(SIGNAL, interrupt) if in_main else None
    watcher = threading.Thread(target=watch, name="watchdog", daemon=True)
    alive()
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        if in_main:
            signal.signal(SIGNAL, before)


def _reason(name: str, seconds: float) -> str:
    return (
        f"{name}: no progress for {duration(seconds)}, so it was ended; what it was at stands at the end of the run's "
        f"standard error. Run it again, or raise {MINUTES} (0: wait for ever) if a step of it takes that long"
    )
