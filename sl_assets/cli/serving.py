"""``sl-assets ui``: Dagster's UI and daemon, one pair for each home of Dagster."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import click
from filelock import FileLock, Timeout

from sl_assets.cli.environment import set_up_home
from sl_assets.home import VARIABLE, project_file

LOCK, ADDRESS = "ui.lock", "ui.address"
"""Files in the home: the first is held while a UI runs, the second says where it is."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others reach all of it.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port on this machine.")
def ui(host: str, port: int) -> None:
    """Open the Dagster UI, with the daemon that schedules and automation need."""
    from sl_assets.definitions import lake_root

    lake_root()
    require_port(host, port)
    set_up_home()
    home = Path(os.environ[VARIABLE])
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    with only_one(home, address):
        # Where Dagster looks for its settings: in the project's folder it would say that it leaves those there alone.
        os.chdir(home)
        click.echo(f"UI     {address}   (ready in about ten seconds; Ctrl-C ends it)")
        workspace = str(project_file("workspace.yaml"))
        sys.argv = ["dagster", "dev", "--workspace", workspace, "--host", host, "--port", str(port)]
        sys.argv += ["--log-level", "warning"]
        # In this process, which holds the lock: what it starts ends with it, however it ends.
        (dagster,) = entry_points(group="console_scripts", name="dagster")
        dagster.load()()


def require_port(host: str, port: int) -> None:
    """Stop before anything is started where something else has the port."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((host, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise click.ClickException(
                f"--port {port}: {reason} on {host}; if a UI runs there, open http://{host}:{port}, "
                f"else choose another port, as --port {port + 1}"
            ) from None


@contextmanager
def only_one(home: Path, address: str) -> Iterator[None]:
    """Hold ``home`` for the UI at ``address``: the daemons of two would start everything twice.

    Raises:
        ClickException: another UI holds it; names where that one is.
    """
    lock = FileLock(home / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        other = (home / ADDRESS).read_text(encoding="utf-8")
        raise click.ClickException(
            f"a UI of {home} runs already: open {other}, or end it first; another {VARIABLE} has a UI of its own"
        ) from None
    with lock:
        (home / ADDRESS).write_text(address, encoding="utf-8")
        yield
