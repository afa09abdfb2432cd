"""SQL over the views, statement by statement: results as they come, and queries that Ctrl-C ends."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sl_assets.errors import LakeError
from sl_assets.lake.catalogue import comments, quoted
from sl_assets.lake.lake import Lake
from sl_assets.lake.views import connect, once_each

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

BATCH = 10_000
"""Rows read together."""

SECONDS_BETWEEN_LOOKS = 0.2
"""At whether Ctrl-C was pressed."""


class Result(NamedTuple):
    """What a statement gives, as it comes.

    Attributes:
        columns: their names, each once.
        kinds: their types, as DuckDB calls them, without what is in brackets.
        batches: rows, each batch read when it is asked for.
    """

    columns: list[str]
    kinds: list[str]
    batches: Iterator[list[tuple[Any, ...]]]


class Statement(NamedTuple):
    """One of the statements of a text.

    Attributes:
        title: the comment that stands right above it, on lines of its own; empty where there is none.
        parsed: the statement.
    """

    title: str
    parsed: "duckdb.Statement"

    @property
    def gives_rows(self) -> bool:
        """Whether rows are what it is for; of what it changes DuckDB gives a count."""
        import duckdb

        changes = duckdb.ExpectedResultType.CHANGED_ROWS in self.parsed.expected_result_type
        # A PIVOT is several statements to DuckDB, which create a type and query.
        pivots = self.parsed.type == duckdb.StatementType.MULTI
        return pivots or (duckdb.ExpectedResultType.QUERY_RESULT in self.parsed.expected_result_type and not changes)


@dataclass(frozen=True)
class Session:
    """A DuckDB with the views."""

    connection: "duckdb.DuckDBPyConnection"
    _aside: ThreadPoolExecutor

    def interruptible(self, call: Callable[..., T], *arguments: Any) -> T:
        """What ``call`` of the connection gives, unless Ctrl-C ends it."""
        # DuckDB does not notice Ctrl-C in every query; from another thread it can always be told. This one looks up
        # now and then, for the system may give the signal to a third.
        called = self._aside.submit(call, *arguments)
        try:
            while not wait([called], timeout=SECONDS_BETWEEN_LOOKS).done:
                pass
        except KeyboardInterrupt:
            self.connection.interrupt()
            raise
        return called.result()

    def statements(self, sql: str) -> list[Statement]:
        """The statements of ``sql``, in order.

        Raises:
            LakeError: there is none.
            duckdb.Error: as DuckDB says.
        """
        found = self.connection.extract_statements(sql)
        if not found:
            raise LakeError(f"SQL: no statement in {sql!r}; write one, such as SELECT * FROM preference_rates")
        # What stands between two statements is a part of the first.
        before = [sql[: sql.index(found[0].query)], *(statement.query for statement in found)]
        return [Statement(_last_comment(text), statement) for text, statement in zip(before, found, strict=False)]

    def result(self, statement: Statement) -> Result:
        """What ``statement`` gives; no columns where it gives nothing. Results that came before end here.

        Raises:
            duckdb.Error: as DuckDB says.
        """
        import duckdb

        answer = self.interruptible(self.connection.execute, statement.parsed)
        batches: Iterator[list[Any]] = iter(lambda: self.interruptible(answer.fetchmany, BATCH), [])
        expected = statement.parsed.expected_result_type
        has_result = duckdb.ExpectedResultType.QUERY_RESULT in expected
        if duckdb.ExpectedResultType.CHANGED_ROWS in expected:
            # CREATE, COPY and PIVOT are told apart by what comes.
            first = list(islice(batches, 1))
            batches, has_result = chain(first, batches), bool(first)
        described = (answer.description or []) if has_result else []
        return Result(once_each([column[0] for column in described]), [column[1].id for column in described], batches)

    def write_parquet(self, statement: Statement, file: Path) -> int:
        """Write what ``statement`` gives to ``file``, with DuckDB's types; returns the number of rows.

        Raises:
            duckdb.Error: as DuckDB says.
        """
        relation = self.interruptible(self.connection.sql, statement.parsed.query)
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in once_each(relation.columns))
        if named := relation.query("answer", f"SELECT * FROM answer AS answer({names})"):
            self.interruptible(named.write_parquet, str(file))
        counted = self.connection.execute(f"SELECT count(*) FROM read_parquet({quoted(str(file))})").fetchone()
        return int(counted[0]) if counted else 0


def _last_comment(text: str) -> str:
    """The lines of comment that ``text`` ends with, as one."""
    found = re.search(r"(?:^--.*\n)+\s*\Z", text, flags=re.MULTILINE)
    return " ".join(line.lstrip("- ").rstrip() for line in found[0].splitlines()).strip() if found else ""


@contextmanager
def session(lake: Lake, commented: bool = False) -> Iterator[Session]:
    """A DuckDB with the views over ``lake``; ``commented``, if someone may ask what they mean."""
    with connect(lake) as connection, ThreadPoolExecutor(1) as aside:
        if commented:
            connection.execute(comments())
        yield Session(connection, aside)


@contextmanager
def queried(lake: Lake, sql: str) -> Iterator[Result]:
    """Result of SQL over the views, of the last statement if there are several; no columns where it has none.

    Raises:
        LakeError: there is no statement.
        duckdb.Error: as DuckDB says.
    """
    with session(lake) as opened:
        *others, last = opened.statements(sql)
        for statement in others:
            opened.result(statement)
        yield opened.result(last)
