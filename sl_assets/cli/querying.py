"""``sl-assets sql`` and ``sl-assets trace``: what the lake holds, and what it was made of."""

import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sl_assets.cli.environment import known_experiment, lake_option

if TYPE_CHECKING:
    import polars as pl

    from sl_assets.lake.lake import Lake
    from sl_assets.lake.session import Session, Statement
    from sl_assets.orchestration.asset import ExperimentGraph


@click.command()
@lake_option
@click.argument("statements", required=False, metavar="[STATEMENTS]")
@click.option("-f", "--file", metavar="FILE", help="Read the statements from FILE; - is standard input.")
@click.option("--tables", is_flag=True, help="List what can be queried, and what a row of it is.")
@click.option("--columns", metavar="VIEW", help="List the columns of VIEW, and what they mean.")
@click.option("--csv", is_flag=True, help="Comma-separated values rather than a table.")
@click.option("--json", is_flag=True, help="A JSON list of objects rather than a table.")
@click.option("--parquet", metavar="FILE", type=click.Path(path_type=Path), help="Write the rows to FILE, as Parquet.")
def sql(
    statements: str | None,
    file: str | None,
    tables: bool,
    columns: str | None,
    csv: bool,
    json: bool,
    parquet: Path | None,
) -> None:
    """Run SQL STATEMENTS over the results; - reads them from standard input.

    Several are separated by semicolons, and each that gives rows is a table of its own, under the comment that stands
    above it. With --csv, --json or --parquet one may give rows.
    """
    import duckdb

    from sl_assets.lake.parquet import DATA
    from sl_assets.lake.session import session

    text, named = _asked(statements, file, tables, columns)
    if sum([csv, json, parquet is not None]) > 1:
        raise click.UsageError("--csv, --json, --parquet: choose one")
    try:
        lake = existing_lake()
        with session(lake, commented=True) as opened:
            found = opened.statements(text)
            if not csv and not json and parquet is None:
                _print_tables(opened, found, COMMENT_WIDTH if tables or columns else VALUE_WIDTH, lake)
                return
            statement = _one_with_rows(opened, found)
            if parquet:
                _write_parquet(opened, statement, parquet)
            else:
                _print_rows(opened, statement, csv)
    except duckdb.Error as error:
        # DuckDB names the file that it cannot read.
        fix = "; sl-assets verify names all that is damaged" if f"/{DATA}" in str(error) else ""
        raise click.ClickException(f"{named}: {' '.join(str(error).split())}{fix}") from None


def _asked(statements: str | None, file: str | None, tables: bool, columns: str | None) -> tuple[str, str]:
    """The SQL that is meant, and what to call it where it is wrong.

    Raises:
        ClickException: there is none or more than one, it cannot be read, or there is no such view.
    """
    from sl_assets.lake.catalogue import quoted

    if [statements is not None, file is not None, tables, columns is not None].count(True) != 1:
        raise click.UsageError("name statements, or -f FILE, or --tables, or --columns VIEW, and one of them")
    if columns is not None:
        return COLUMNS.format(view=quoted(known_view(columns))), "SQL"
    if tables:
        return TABLES, "SQL"
    if statements is not None and statements != "-":
        return statements, "SQL"
    source = file or "-"
    try:
        if source == "-":
            return sys.stdin.read(), "standard input"
        return Path(source).read_text(encoding="utf-8"), source
    except (OSError, UnicodeDecodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise click.ClickException(f"-f {source}: {reason}; name a file of SQL, or - for standard input") from None


TABLES = (
    'SELECT view_name AS "table", comment AS "a row is" FROM duckdb_views() '
    "WHERE NOT internal AND database_name = current_database() ORDER BY view_oid"
)
COLUMNS = (
    'SELECT column_name AS "column", data_type AS "type", comment AS meaning FROM duckdb_columns() '
    "WHERE NOT internal AND database_name = current_database() AND table_name = {view} ORDER BY column_index"
)


def known_view(name: str) -> str:
    """``name``, which a view has.

    Raises:
        ClickException: none has it.
    """
    from sl_assets.lake.catalogue import CATALOGUE

    if name not in CATALOGUE:
        raise click.ClickException(f"--columns {name}: no such table; there are {', '.join(CATALOGUE)}")
    return name


def _print_tables(opened: "Session", statements: "list[Statement]", width: int, lake: "Lake") -> None:
    """Print what ``statements`` give, each under its comment where several give something."""
    from sl_assets.lake.result_text import beginning_of

    shown = [statement for statement in statements if statement.gives_rows or statement is statements[-1]]
    for statement in statements:
        result = opened.result(statement)
        if not result.columns or statement not in shown:
            continue
        if len(shown) > 1:
            click.echo(f"{'' if statement is shown[0] else chr(10)}{statement.title}".rstrip(" "))
        beginning, others = beginning_of(result, TABLE_ROWS)
        click.echo(table(beginning, width))
        if beginning.is_empty():
            # It may be meant for another lake: a gallery has no answers, for one.
            click.echo(f"no rows; {lake.root} has results of {', '.join(lake.experiments()) or 'nothing'}", err=True)
        if left_out := sum(others):
            click.echo(f"... and {left_out:,} more: add LIMIT, or --csv for all")


def _one_with_rows(opened: "Session", statements: "list[Statement]") -> "Statement":
    """The last of ``statements``, after the others have been run.

    Raises:
        ClickException: others give rows, too.
    """
    if (several := sum(statement.gives_rows for statement in statements)) > 1:
        raise click.ClickException(
            f"SQL: {several} statements give rows, and --csv, --json and --parquet take those of one; "
            "leave one, or leave the option out for tables"
        )
    *others, last = statements
    for statement in others:
        opened.result(statement)
    return last


def _print_rows(opened: "Session", statement: "Statement", csv: bool) -> None:
    """Print what ``statement`` gives, as comma-separated values or as JSON."""
    from sl_assets.lake.result_text import csv_of, json_of

    result = opened.result(statement)
    if result.columns:
        for piece in csv_of(result) if csv else json_of(result):
            click.echo(piece, nl=False)


def _write_parquet(opened: "Session", statement: "Statement", file: Path) -> None:
    """Write what ``statement`` gives to ``file``, whole or not at all."""
    if not statement.gives_rows:
        raise click.ClickException("--parquet: the last statement gives no rows; end with a SELECT")
    with put_whole(file) as beside:
        rows = opened.write_parquet(statement, beside)
    click.echo(f"{file}: {rows:,} {'row' if rows == 1 else 'rows'}")


@contextmanager
def put_whole(file: Path) -> Iterator[Path]:
    """A name beside ``file`` to write to; what is there after the block takes its place, and otherwise goes.

    Raises:
        ClickException: it is a folder, there is none for it, or the system refuses it.
    """
    if not file.parent.is_dir():
        raise click.ClickException(f"{file}: no folder {file.parent}; make it, or name another file")
    if file.is_dir():
        raise click.ClickException(f"{file}: is a folder; name a file in it")
    beside = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        yield beside
        os.replace(beside, file)
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be written ({(error.strerror or str(error)).lower()})") from None
    finally:
        beside.unlink(missing_ok=True)


def existing_lake() -> "Lake":
    """The lake, to look at: a folder that is not there is a mistake in its name, and not to be made.

    Raises:
        ClickException: there is none.
    """
    from sl_assets.definitions import lake_root, open_lake

    root = lake_root()
    if "://" not in root and not Path(root).is_dir():
        raise click.ClickException(f"SL_DATA_LAKE = {root}: no lake there; mend it, or run an experiment first")
    return open_lake()


TABLE_ROWS = 1_000
"""That are printed as a table."""


@click.command()
@click.argument("experiment")
@click.argument("asset")
@click.argument("partition", required=False)
@click.option("--json", is_flag=True, help="JSON rather than lines.")
@lake_option
def trace(experiment: str, asset: str, partition: str | None, json: bool) -> None:
    """Show what PARTITION of ASSET was made of, all the way back, and whether that still holds.

    A half is named like 'owl|animal_high'. With the word row in place of an asset, and a row_id or its beginning behind
    it, show what became of that row of numbers.
    """
    from sl_assets.orchestration.tracing import links, text_of

    graph = known_experiment(experiment).graph
    if asset == ROW:
        _tell_row(graph, partition, json)
        return
    if asset not in graph.assets:
        raise click.ClickException(f"{experiment} has no asset {asset!r}; it has {', '.join(graph.assets)}")
    keys = graph.keys(graph.declaration(asset).by)
    if partition not in keys:
        raise click.ClickException(f"{asset}: {no_such_partition(partition, keys)}")
    found = links(graph, existing_lake(), graph.place(asset, partition))
    if json:
        click.echo(dumps([link.to_json() for link in found], indent=2, ensure_ascii=False))
        return
    for link in found:
        for line in text_of(link):
            click.echo(line)


ROW = "row"
"""What is written in place of an asset to ask for a row of numbers."""


def _tell_row(graph: "ExperimentGraph", row_id: str | None, json: bool) -> None:
    from sl_assets.orchestration.row_story import story_of

    if not row_id:
        raise click.ClickException(
            f"trace {graph.name} row: name a row_id, or its beginning; the view datasets has them"
        )
    story = story_of(graph, existing_lake(), row_id)
    click.echo(story.to_json() if json else "\n".join(story.lines()))


def no_such_partition(partition: str | None, keys: Sequence[str | None]) -> str:
    """Why ``partition`` is none of ``keys``, and what to write instead."""
    if keys == (None,):
        return f"has no partitions; leave {partition} out"
    # Of an animal that was named without its half, its halves.
    near = [str(key) for key in keys if partition and str(key).startswith(f"{partition}|")] or [
        str(key) for key in keys
    ]
    shown = ", ".join(near[:SHOWN]) + (f", ... ({len(near)})" if len(near) > SHOWN else "")
    return f"{'name a partition' if partition is None else f'no partition {partition!r}'}; there are {shown}"


SHOWN = 20
"""Partitions named to someone who named none that there is."""


VALUE_WIDTH, COMMENT_WIDTH = 60, 1_000
"""Letters of a text in a table, of values and of what names mean."""


def table(frame: "pl.DataFrame", width: int = VALUE_WIDTH) -> str:
    """``frame`` as text, every row and column; of a text at most ``width`` letters."""
    import polars as pl

    # Four digits that count: p-values are small, and so are learning rates.
    floats = pl.selectors.float().map_elements(lambda value: f"{value:.4g}", return_dtype=pl.String)
    # A row is a line.
    texts = pl.selectors.string().str.replace_all("\n", "\\n", literal=True)
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=width,
        tbl_formatting="ASCII_MARKDOWN",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        return str(frame.with_columns(floats, texts))
