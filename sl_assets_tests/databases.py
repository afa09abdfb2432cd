"""Dagster's SQLite databases at less cost: real files, but SQL is compiled once, and writing is left to the system.

Dagster makes a new engine for every access, which compiles its statements anew, and reads all its migrations for every
run. Together that is a third of what a small run costs.
"""

import sqlite3
from functools import cache
from typing import Any

from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine

_engines: dict[str, Engine] = {}


def engine_of(url: str, **settings: Any) -> Engine:
    """The engine of a database, which opens its file anew for every access, as Dagster's own does."""
    if url not in _engines:
        _engines[url] = create_engine(url, **settings)
    return _engines[url]


@event.listens_for(Engine, "connect")
def leave_writing_to_the_system(connection: Any, _: Any) -> None:
    """Databases of tests outlive killed processes, and need not outlive the machine."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
    module.create_engine = engine_of  # type: ignore[attr-defined]
ScriptDirectory.from_config = cache(ScriptDirectory.from_config)  # type: ignore[method-assign]
