"""A process of its own for an engine that must not share one, for as long as this process lives."""

import faulthandler
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, NamedTuple
from weakref import WeakSet

import psutil

from sl_assets.errors import SlAssetsError
from sl_assets.liveness import alive

STACKS = signal.SIGUSR1
"""Signal upon which a helper writes the stacks of its threads to standard error, whatever it is at."""

SECONDS_FOR_STACKS = 1.0

_living: "WeakSet[HelperProcess]" = WeakSet()
"""Helpers of this process that have not ended."""

_here: dict[str, Connection] = {}
"""In the helper: its line to the parent."""


class _Told(NamedTuple):
    """What a task reports."""

    values: tuple[Any, ...]


class _Done(NamedTuple):
    """How a task ended."""

    result: Any
    error: Exception | None


class HelperProcess:
    """Runs tasks, one at a time, in a fresh interpreter that keeps what they leave in modules.

    Tasks and their results are pickled, so a task is a function of a module, or a ``partial`` of one. A script that
    starts one needs the guard ``if __name__ == "__main__"``.

    Attributes:
        ended: whether it can run nothing more; so it is after any trouble that leaves unknown what it is at.
    """

    def __init__(self, name: str) -> None:
        # Spawned: a fork would inherit a CUDA context that it cannot use.
        spawn = multiprocessing.get_context("spawn")
        self._name = name
        self._line, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs,))
        self._process.start()
        # The line is cut when the helper's own end is the last one and goes.
        theirs.close()
        self._known = psutil.Process(self._process.pid)
        self.ended = False
        _living.add(self)
        # A process that ends waits for its children, and this one waits for tasks: end it first.
        self._at_exit = Finalize(None, self.end, exitpriority=100)

    def run(self, task: Callable[[], Any], report: Callable[..., None] = lambda *_: None) -> Any:
        """Result of ``task``; while it runs, ``report`` is called here with what it tells.

        Raises:
            SlAssetsError: the process died, or the task raised it. Only after the latter can it be asked again.
            Exception: whatever else the task raised.
        """
        try:
            self._send(task)
            while isinstance(answer := self._receive(), _Told):
                alive()
                report(*answer.values)
            if answer.error and not isinstance(answer.error, SlAssetsError):
                raise answer.error
        except BaseException:
            self.end()
            raise
        if answer.error:
            raise answer.error
        return answer.result

    def _send(self, task: Callable[[], Any]) -> None:
        try:
            self._line.send(task)
        except OSError as error:
            raise self._death() from error

    def _receive(self) -> _Told | _Done:
        try:
            answer: _Told | _Done = self._line.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        return answer

    def _death(self) -> SlAssetsError:
        return SlAssetsError(f"{self._name}'s process died; the run's log has its last words")

    def dump(self) -> None:
        """Have it write the stacks of its threads to its standard error."""
        with suppress(psutil.NoSuchProcess):
            self._known.send_signal(STACKS)

    def end(self) -> None:
        """End the process and those it began, whatever they are at, and with them what they hold."""
        if self.ended:
            return
        self.ended = True
        _living.discard(self)
        self._at_exit.cancel()
        _kill_with_children(self._known)
        self._process.join()
        self._line.close()


def dump_helpers() -> None:
    """Have every helper of this process write the stacks of its threads to its standard error."""
    for helper in list(_living):
        helper.dump()
    if _living:
        time.sleep(SECONDS_FOR_STACKS)


def tell(*values: Any) -> None:
    """In a helper: have ``values`` reported."""
    _here["line"].send(_Told(values))


def _serve(line: Connection) -> None:
    # Ctrl-C reaches every process of a terminal; what becomes of this one is its parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(STACKS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _here["line"] = line
    with suppress(EOFError):
        while True:
            line.send(_outcome(line.recv()))


def _outcome(task: Callable[[], Any]) -> _Done:
    try:
        return _Done(task(), None)
    except BaseException as error:
        raised = _portable(error)
        raised.add_note(traceback.format_exc())
        return _Done(None, raised)


def _portable(error: BaseException) -> Exception:
    """``error``, or its words where it cannot be pickled or would end the parent."""
    if isinstance(error, Exception):
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """A killed run must not leave a process behind that holds the GPU."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    _kill_with_children(psutil.Process())


def _kill_with_children(process: psutil.Process) -> None:
    """Kill ``process`` last if it is this one, else first, so that it cannot take notice of its children's end."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = process.children(recursive=True)
    here = process.pid == os.getpid()
    for one in [*children, process] if here else [process, *children]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(children, timeout=10)
