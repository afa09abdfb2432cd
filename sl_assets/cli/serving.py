"""``sl-assets ui``: Dagster's UI and daemon, one pair for each home of Dagster.

They run in a session of their own, below a process that the terminal's Ctrl-C reaches: what Dagster starts would answer
with a page each while it is still being loaded.
"""

import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from threading import Thread, main_thread

import click
from filelock import FileLock

from sl_assets.cli.adopting import offer_adoption
from sl_assets.cli.environment import set_up_home
from sl_assets.home import VARIABLE, project_file
from sl_assets.locks import try_lock

SECONDS_TO_END = 30.0
"""In which the UI and runs in it end by themselves."""

LOCK, ADDRESS = "ui.lock", "ui.address"
"""Files in the home: the first is held while a UI runs, the second says where it is."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others reach all of it.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port on this machine.")
@click.option("--leash", type=int, hidden=True, help="Pipe whose other end is held by the process to end with.")
def ui(host: str, port: int, leash: int | None) -> None:
    """Open the Dagster UI, with the daemon that schedules and automation need."""
    if leash is None:
        sys.exit(serve_apart(host, port))
    end_with(leash)
    serve(host, port)


def serve_apart(host: str, port: int) -> int:
    """`serve` in a process in a session of its own, until that or this one ends; returns its exit code."""
    ours, its = os.pipe()
    command = [sys.executable, "-m", "sl_assets", "ui", "--host", host, "--port", str(port), "--leash", str(ours)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    with subprocess.Popen(command, pass_fds=[ours], start_new_session=True) as server:
        os.close(ours)
        try:
            return server.wait()
        except KeyboardInterrupt:
            if is_answered(host, port):
                # Everything is loaded: as if Ctrl-C had reached it all, so that runs are interrupted, too.
                end_group(server)
            return 0
        finally:
            os.close(its)


def end_group(server: "subprocess.Popen[bytes]") -> None:
    """Interrupt ``server`` and what it started; what does not end in time, or at a second signal, is killed."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGINT)
    try:
        server.wait(SECONDS_TO_END)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def end_with(leash: int) -> None:
    """Interrupt this process when whoever holds the other end of ``leash`` lets go, killed or not."""
    # A shell starts what is in the background without it, and so everything that is started from there.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        os.read(leash, 1)
        if ident := main_thread().ident:
            signal.pthread_kill(ident, signal.SIGINT)

    Thread(target=watch, daemon=True).start()


def serve(host: str, port: int) -> None:
    """Run UI and daemon in this process and those that it starts, until it is interrupted."""
    import dagster as dg

    from sl_assets.definitions import lake_root
    from sl_assets.orchestration.dagster_internals import serve_by

    lake_root()
    require_port(host, port)
    if set_up_home():
        offer_adoption()
    home = Path(os.environ[VARIABLE])
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    with only_one(home, address):
        # Where Dagster looks for its settings: in the project's folder it would say that it leaves those there alone.
        os.chdir(home)
        click.echo(f"UI     {address}   (ready in about ten seconds; Ctrl-C ends it)")
        workspace = str(project_file("workspace.yaml"))
        sys.argv = ["dagster", "dev", "--workspace", workspace, "--host", host, "--port", str(port)]
        sys.argv += ["--log-level", "warning"]
        # The command that Dagster would rather see is of a package that the project can do without.
        warnings.filterwarnings("ignore", category=dg.SupersessionWarning)
        serve_by("sl_assets.cli.webserver")
        # In this process, which holds the lock for as long as the UI runs, however it ends.
        (dagster,) = entry_points(group="console_scripts", name="dagster")
        dagster.load()()


def is_answered(host: str, port: int) -> bool:
    """Whether somebody listens on ``port``."""
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex((host, port)) == 0


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
    if not try_lock(lock):
        address_file = home / ADDRESS
        # Written a moment after the lock is taken.
        other = address_file.read_text(encoding="utf-8") if address_file.exists() else "its window"
        raise click.ClickException(
            f"a UI of {home} runs already: open {other}, or end it first; another {VARIABLE} has a UI of its own"
        )
    try:
        (home / ADDRESS).write_text(address, encoding="utf-8")
        yield
    finally:
        lock.release()
