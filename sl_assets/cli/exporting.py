"""``sl-assets export``: an experiment's tables in one file."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sl_assets.cli.environment import known_experiment
from sl_assets.cli.querying import existing_lake, put_whole
from sl_assets.cli.status import standing

if TYPE_CHECKING:
    from sl_assets.experiments import Experiment
    from sl_assets.orchestration.status import Status


@click.command()
@click.argument("experiment")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--rows", is_flag=True, help="With the tables that have a row for every row of a dataset, or more.")
@click.option("--alone", is_flag=True, help="Without the experiment's variants.")
def export(experiment: str, file: Path, rows: bool, alone: bool) -> None:
    """Write the tables of EXPERIMENT and its variants to FILE: a database for .duckdb, CSV for .zip.

    In it are a table readme with the settings and versions, and a table status that says what was stale.
    """
    import duckdb
    import polars as pl

    from sl_assets.lake.exporting import README, SUFFIXES, ZIP, exported_views
    from sl_assets.lake.exporting import export as write
    from sl_assets.orchestration.status import SCHEMA

    if file.suffix not in SUFFIXES:
        raise click.ClickException(f"{file}: write it as {' or '.join(f'{file.stem}{suffix}' for suffix in SUFFIXES)}")
    if file.exists():
        raise click.ClickException(f"{file}: is there already; remove it, or name another")
    known = known_experiment(experiment)
    exported = [known, *([] if alone else known.variants)]
    lake = existing_lake()
    stands = standing(known, lake, None, alone)
    said = pl.DataFrame(
        [*_settings(exported), *_states(stands, [of.name for of in exported])],
        schema={name: dtype for name, (dtype, _) in README.items()},
        orient="row",
    )
    status = pl.DataFrame(stands, schema=SCHEMA, orient="row")
    try:
        with put_whole(file) as beside:
            try:
                counts = write(lake, [of.name for of in exported], said, status, beside, file.suffix == ZIP, rows)
            finally:
                beside.with_name(f"{beside.name}.wal").unlink(missing_ok=True)
    except duckdb.Error as error:
        raise click.ClickException(f"{file}: {' '.join(str(error).split())}") from None
    left_out = "" if rows else f"; --rows adds {', '.join(sorted({*exported_views(True)} - {*counts}))}"
    click.echo(f"{file}: {len(counts)} tables, {sum(counts.values()):,} rows{left_out}")
    if stale := sum(row.state in ("stale", "failed") for row in stands):
        click.echo(f"sl-assets: {stale:,} partitions are stale or failed; the table status names them", err=True)


def _settings(experiments: "Sequence[Experiment]") -> Iterator[tuple[str, str, str, str]]:
    """Settings as rows of the readme, by the names that they have in the file."""
    for experiment in experiments:
        for name, value in _flat("", experiment.config.model_dump(mode="json")):
            yield "setting", name, json.dumps(value, ensure_ascii=False), f"of {experiment.name}"


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a mapping holds, however deep, by names with points between."""
    if not isinstance(value, dict) or not value:
        yield prefix, value
        return
    for name, inner in value.items():
        yield from _flat(f"{prefix}.{name}" if prefix else name, inner)


def _states(stands: "Sequence[Status]", names: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """How many partitions are in each state, and whose are not in the file, as rows of the readme."""
    for state, count in Counter(row.state for row in stands).items():
        yield "state", state, str(count), "partitions in this state when the file was written"
    for name, count in Counter(row.experiment for row in stands if row.experiment not in names).items():
        yield (
            "state",
            name,
            str(count),
            "partitions that another experiment makes; their rows are in the export of that",
        )
