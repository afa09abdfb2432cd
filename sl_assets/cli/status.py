"""``sl-assets status``: what is fresh, missing, stale or failed, why, and how long it may take to make."""

from typing import TYPE_CHECKING

import click

from sl_assets.cli.checking import require_files
from sl_assets.cli.environment import found_experiments, known_experiment
from sl_assets.cli.querying import COMMENT_WIDTH, existing_lake, table
from sl_assets.cli.running import wanted_conditions
from sl_assets.errors import SlAssetsError

if TYPE_CHECKING:
    from sl_assets.experiments import Experiment
    from sl_assets.lake.lake import Lake
    from sl_assets.orchestration.status import Status


@click.command()
@click.argument("experiment", required=False)
@click.option("--animals", help="Of EXPERIMENT, comma-separated; all where left out. Neutral always comes along.")
@click.option("--alone", is_flag=True, help="Without the experiment's variants.")
@click.option("--csv", is_flag=True, help="Comma-separated values, a row a partition.")
@click.option("--json", is_flag=True, help="A JSON list, an object a partition.")
def status(experiment: str | None, animals: str | None, alone: bool, csv: bool, json: bool) -> None:
    """Say what of EXPERIMENT, or of all, is fresh, missing, stale or failed, why, and how long the rest may take.

    It makes nothing. What is missing or stale, sl-assets run makes.
    """
    import polars as pl

    from sl_assets.orchestration.status import SCHEMA, by_asset, counted

    if csv and json:
        raise click.UsageError("--csv, --json: choose one")
    if animals is not None and experiment is None:
        raise click.UsageError(f"--animals {animals}: of which experiment? Name it, or leave it out")
    lake = existing_lake()
    problems: list[str] = []
    if experiment is not None:
        found = {experiment: standing(known_experiment(experiment), lake, animals, alone)}
    else:
        found = {}
        for known in found_experiments().files:
            try:
                found[known.name] = standing(known, lake, None, alone)
            except (SlAssetsError, click.ClickException) as error:
                said = error.format_message() if isinstance(error, click.ClickException) else str(error)
                problems.append(said if said.startswith(known.name) else f"{known.name}: {said}")
    if csv or json:
        rows = pl.DataFrame([row for rows in found.values() for row in rows], schema=SCHEMA, orient="row")
        click.echo(rows.write_csv() if csv else rows.write_json() + "\n", nl=False)
    elif experiment is not None:
        click.echo(table(pl.DataFrame(by_asset(found[experiment])), COMMENT_WIDTH))
    elif found:
        click.echo(table(pl.DataFrame([{"experiment": name, **counted(rows)} for name, rows in found.items()])))
    for problem in problems:
        click.echo(f"sl-assets: left out: {problem}", err=True)


def standing(experiment: "Experiment", lake: "Lake", animals: str | None, alone: bool) -> "list[Status]":
    """How the partitions of ``experiment`` stand, and those of its variants.

    Raises:
        ClickException: a file that it names is missing or wrong.
        SlAssetsError: records cannot be read, or compared with the files here.
    """
    from sl_assets.orchestration.planner import Planner
    from sl_assets.orchestration.status import statuses

    variants = [] if alone else [variant.graph for variant in experiment.variants]
    planner = Planner(experiment.graph, lake, wanted_conditions(experiment, animals), variants=variants)
    for graph in planner.graphs:
        require_files(graph.name, graph.config)
    return list(statuses(planner))
