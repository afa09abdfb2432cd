"""``sl-assets adopt``: a lake that came from elsewhere becomes known to this machine's Dagster."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from sl_assets.cli.environment import found_experiments, known_experiment, set_up_home
from sl_assets.cli.interrupts import interrupted_with
from sl_assets.cli.querying import existing_lake

if TYPE_CHECKING:
    from sl_assets.experiments import Experiment
    from sl_assets.lake.lake import Lake


@click.command()
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
def adopt(experiments: tuple[str, ...]) -> None:
    """Tell Dagster of everything that the lake holds of EXPERIMENTS, or of all, so that the UI shows it.

    For a lake that was copied here, or a new home of Dagster beside an old lake. Nothing is made, nothing in the lake
    changes, and what Dagster knows already it is not told again.
    """
    with interrupted_with("interrupted; the same command goes on from here"):
        lake = existing_lake()
        chosen = (
            [known_experiment(name) for name in dict.fromkeys(experiments)]
            if experiments
            else found_experiments().files
        )
        set_up_home()
        total = 0
        for experiment in chosen:
            for asset, count in _adopted(experiment, lake):
                click.echo(f"{experiment.name:<20} {asset:<40} {count:>6,}")
                total += count
        click.echo(f"{total:,} partitions of {lake.root} are news to {os.environ['DAGSTER_HOME']}")


def _adopted(experiment: "Experiment", lake: "Lake") -> Iterator[tuple[str, int]]:
    import dagster as dg

    from sl_assets.definitions import surroundings
    from sl_assets.orchestration.planner import Planner
    from sl_assets.orchestration.telling import Teller, adopt

    variants = [variant.graph for variant in experiment.variants]
    # By name: what only makes sense when it is asked for may be there, too.
    through = ",".join({name for graph in (experiment.graph, *variants) for name in graph.assets})
    planner = Planner(experiment.graph, lake, experiment.config.conditions, through, variants=variants)
    definitions = dg.Definitions.merge(*experiment.definitions_with_sources(), surroundings())
    with dg.DagsterInstance.get() as instance:
        yield from adopt(planner, Teller(instance, definitions))


def offer_adoption() -> None:
    """Say how a Dagster that knows of nothing comes to know of the lake, where something is there."""
    from sl_assets.definitions import open_lake

    lake = open_lake()
    if lake.experiments():
        click.echo(f"lake   {lake.root} holds results that this Dagster has not heard of: sl-assets adopt", err=True)
