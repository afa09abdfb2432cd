"""A process of its own for an engine that must not share one, for as long as this process lives."""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from queue import Empty
from typing import Any

import psutil

_here: dict[str, Any] = {}
"""In the helper: the queue of its reports."""


class HelperProcess:
    """Runs tasks, one at a time, in a fresh interpreter that keeps what they leave in modules.

    Tasks and their results are pickled, so a task is a function of a module, or a ``partial`` of one.
    """

    def __init__(self) -> None:
        # Spawned: a fork would inherit a CUDA context that it cannot use.
        spawn = multiprocessing.get_context("spawn")
        self._reports = spawn.Queue()
        self._pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin, initargs=(self._reports,))
        self._pid: int = self._pool.submit(os.getpid).result()

    def run(self, task: Callable[[], Any], report: Callable[..., None] = lambda *_: None) -> Any:
        """Result of ``task``; while it runs, ``report`` is called here with what it tells.

        Where ``report`` raises, or this is interrupted, the task goes on: `end` the process.

        Raises:
            BrokenProcessPool: the process died.
            Exception: whatever the task raised.
        """
        future: Future[tuple[Any, Exception | None]] = self._pool.submit(_followed, task)
        while (told := self._next_report(future)) is not None:
            report(*told)
        result, error = future.result()
        if error:
            raise error
        return result

    def _next_report(self, future: "Future[Any]") -> tuple[Any, ...] | None:
        """What the task tells next; None when it has told everything, or cannot any more."""
        while True:
            try:
                told: tuple[Any, ...] | None = self._reports.get(timeout=0.1)
                return told
            except Empty:
                if future.done() and future.exception():
                    return None

    def end(self) -> None:
        """End the process and those it began, whatever they are at, and with them what they hold."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._pid)
            family = [process, *process.children(recursive=True)]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family[1:], timeout=10)
        self._pool.shutdown()


def tell(*values: Any) -> None:
    """In a helper: have ``values`` reported."""
    _here["reports"].put(values)


def _followed(task: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Result of ``task``, or its error; whichever, the reports end with None, which comes after all others."""
    try:
        return task(), None
    except Exception as error:
        raised = _portable(error)
        raised.add_note(traceback.format_exc())
        return None, raised
    finally:
        _here["reports"].put(None)


def _portable(error: Exception) -> Exception:
    """``error``, or its words where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _begin(reports: Any) -> None:
    # Ctrl-C reaches every process of a terminal; what becomes of this one is its parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _here["reports"] = reports
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed run must not leave a process behind that holds the GPU."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
