"""The command as a user types it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sl_assets_tests.forks import FORKS

COMMAND = [sys.executable, "-m", "sl_assets"]
OUTPUTS = ("stdout", "stderr")


def run(environment: dict[str, str], *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What ``sl-assets`` with ``arguments`` said and gave, started in ``folder`` by an interpreter of its own."""
    command = [*COMMAND, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run_forked(
    environment: dict[str, str], *arguments: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The same, in a process that has imported Dagster before: for whom it does not matter how Python was started."""
    with TemporaryDirectory() as name:
        process = FORKS.Process(target=typed, args=(environment, arguments, folder, Path(name)))
        process.start()
        process.join()
        said = [(Path(name) / output).read_text() for output in OUTPUTS]
        return subprocess.CompletedProcess([*COMMAND, *arguments], process.exitcode or 0, *said)


def typed(
    environment: dict[str, str], arguments: tuple[str, ...], folder: Path | None, said: Path, alone: bool = False
) -> None:
    """The command in this process, which leads a group of its own, with what it writes in files of the folder ``said``.

    ``alone``: without the project's own experiments, which take a second to load.
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    if folder:
        os.chdir(folder)
    for output in OUTPUTS:
        file = os.open(said / output, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, getattr(sys, output).fileno())

    if alone:
        import dagster as dg

        dg.load_from_defs_folder = lambda **_: dg.Definitions()

    from sl_assets import cli

    sys.argv = ["sl-assets", *arguments]
    cli.main()
