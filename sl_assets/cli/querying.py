"""``sl-assets sql`` and ``sl-assets trace``: what the lake holds, and what it was made of."""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sl_assets.cli.environment import known_experiment, lake_option

if TYPE_CHECKING:
    import polars as pl

    from sl_assets.lake.lake import Lake
    from sl_assets.orchestration.asset import ExperimentGraph


@click.command()
@lake_option
@click.argument("statement")
@click.option("--csv", is_flag=True, help="Comma-separated values rather than a table.")
def sql(statement: str, csv: bool) -> None:
    """Run one SQL STATEMENT over the results."""
    import duckdb

    from sl_assets.lake.result_text import beginning_of, csv_of
    from sl_assets.lake.views import queried

    try:
        with queried(existing_lake(), statement) as result:
            if csv and result.columns:
                for piece in csv_of(result):
                    click.echo(piece, nl=False)
            elif result.columns:
                beginning, others = beginning_of(result, TABLE_ROWS)
                click.echo(table(beginning))
                if left_out := sum(others):
                    click.echo(f"... and {left_out:,} more: add LIMIT, or --csv for all")
    except duckdb.Error as error:
        raise click.ClickException(f"SQL: {' '.join(str(error).split())}") from None


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


def table(frame: "pl.DataFrame") -> str:
    """``frame`` as text, every row and column."""
    import polars as pl

    # Four digits that count: p-values are small, and so are learning rates.
    floats = pl.selectors.float().map_elements(lambda value: f"{value:.4g}", return_dtype=pl.String)
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=60,
        tbl_formatting="ASCII_MARKDOWN",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        return str(frame.with_columns(floats))
