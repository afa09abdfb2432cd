"""A real PostgreSQL server on loopback, where one is installed (Debian: ``apt install postgresql``)."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sl_assets_tests.dagster_ui import free_port, wait_until


def program(name: str) -> str | None:
    """PostgreSQL's program of that name, which Debian keeps off the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


needs_postgres = pytest.mark.skipif(program("initdb") is None, reason="PostgreSQL is not installed")


def user() -> str | None:
    """Whom the server runs as: it refuses root."""
    if os.getuid():
        return None
    return next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")), None)


@contextmanager
def postgres_server() -> Iterator[str]:
    """A server of its own with an empty database; its URL."""
    initdb, postgres, port = program("initdb"), program("postgres"), free_port()
    assert initdb
    assert postgres
    # Not below pytest's folder, which no other user can enter.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        if who := user():
            shutil.chown(folder, who)
        command = [initdb, "-D", str(data), "-U", "dagster", "--auth=trust", "--no-sync"]
        subprocess.run(command, user=who, cwd=folder, check=True, capture_output=True)
        options = ["-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with subprocess.Popen([postgres, "-D", str(data), *options], user=who, cwd=folder) as process:
            try:
                psql = [str(program("psql")), "-h", "127.0.0.1", "-p", str(port), "-U", "dagster", "postgres"]
                create = [*psql, "-qc", "CREATE DATABASE dagster"]
                wait_until(lambda: subprocess.run(create, check=False, capture_output=True).returncode == 0, seconds=30)
                yield f"postgresql+psycopg2://dagster@127.0.0.1:{port}/dagster"
            finally:
                process.terminate()
