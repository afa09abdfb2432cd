"""The command as a user types it, in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sl_assets_tests.forks import FORKS

COMMAND = [sys.executable, "-m", "sl_assets"]
OUTPUTS = ("stdout", "stderr")


def run(environment: dict[str, str], *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What ``sl-assets`` with ``arguments`` said and gave, started in ``folder`` by an interpreter of its own."""
    command = [*COMMAND, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


class Forked(NamedTuple):
    """A command in a process that had imported Dagster before, and the files that it writes its output to."""

    process: BaseProcess
    stdout: Path
    stderr: Path


@contextmanager
def forked(environment: dict[str, str], *arguments: str, folder: Path | None = None) -> Iterator[Forked]:
    """``sl-assets`` with ``arguments``, for whom it does not matter how Python was started; ends with the block."""
    with TemporaryDirectory() as name:
        outputs = [Path(name) / output for output in OUTPUTS]
        for output in outputs:
            output.touch()
        process = FORKS.Process(target=typed, args=(environment, arguments, folder, outputs))
        process.start()
        try:
            yield Forked(process, *outputs)
        finally:
            process.kill()
            process.join()


def run_forked(
    environment: dict[str, str], *arguments: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What `forked` said and gave."""
    with forked(environment, *arguments, folder=folder) as (process, *outputs):
        process.join()
        said = [output.read_text() for output in outputs]
        return subprocess.CompletedProcess([*COMMAND, *arguments], process.exitcode or 0, *said)


def typed(
    environment: dict[str, str],
    arguments: tuple[str, ...],
    folder: Path | None,
    outputs: Sequence[Path],
    alone: bool = False,
) -> None:
    """The command in this process, which leads a group of its own, with what it writes in the files ``outputs``.

    ``alone``: without the project's own experiments, which take a second to load.
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    # What was imported may have looked for it already, in the environment of then.
    tempfile.tempdir = None
    if folder:
        os.chdir(folder)
    for name, output in zip(OUTPUTS, outputs, strict=True):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), getattr(sys, name).fileno())

    if alone:
        import dagster as dg

        dg.load_from_defs_folder = lambda **_: dg.Definitions()

    from sl_assets import cli

    sys.argv = ["sl-assets", *arguments]
    cli.main()
