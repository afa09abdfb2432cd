"""``sl-assets verify``: whether every file of the lake is what it was when it was recorded."""

from typing import TYPE_CHECKING

import click

from sl_assets.cli.environment import lake_option
from sl_assets.cli.querying import existing_lake

if TYPE_CHECKING:
    from sl_assets.lake.lake import Lake
    from sl_assets.lake.places import Place


@click.command()
@lake_option
@click.argument("experiment", required=False)
@click.option("--animals", help="Of EXPERIMENT, comma-separated; all where left out. Neutral always comes along.")
@click.option("--forget", is_flag=True, help="Have the next sl-assets run make again what is damaged.")
def verify(experiment: str | None, animals: str | None, forget: bool) -> None:
    """Read every file of the lake, or of EXPERIMENT and its variants, and name those that are not what was recorded.

    The exit status is 1 if there are any. Without --forget nothing is changed: a backup may have them whole.
    """
    from sl_assets.lake.verifying import verified

    if animals is not None and experiment is None:
        raise click.UsageError(f"--animals {animals}: of which experiment? Name it, or leave it out")
    lake = existing_lake()
    files = size = partitions = damaged = unread = 0
    for place in _places(lake, experiment, animals):
        if (found := verified(lake, place)) is None:
            continue
        if not (found.files or found.damage):
            unread += 1
            continue
        files, size, partitions = files + found.files, size + found.size, partitions + 1
        for line in found.damage:
            click.echo(f"{place}: {line}")
        damaged += bool(found.damage)
        if found.damage and forget:
            # Whoever is making it again this very moment replaces it.
            with lake.making(place, wait=False) as ours:
                if ours and (now := verified(lake, place)) and now.damage:
                    lake.forget_record(place)
    read = f"{files:,} files of {partitions:,} partitions ({size / 1e6:,.1f} MB) were read"
    if unread:
        read += f", and of {unread:,} more there is a record alone"
    if not damaged:
        click.echo(f"{read}: all are what was recorded")
        return
    fix = "sl-assets run makes them again" if forget else "restore them, or have them made again by verify --forget"
    raise click.ClickException(f"{read}: {damaged:,} {'partition' if damaged == 1 else 'partitions'} damaged; {fix}")


def _places(lake: "Lake", experiment: str | None, animals: str | None) -> "list[Place]":
    """What is recorded of the experiment, its variants and these animals, or of everything.

    Raises:
        ClickException: nothing is.
    """
    from sl_assets.animals import NEUTRAL
    from sl_assets.config.names import belongs_to, kept_as, names_in
    from sl_assets.lake.tables import keys_of

    names = lake.experiments()
    if experiment is not None:
        names = [name for name in names if belongs_to(name, kept_as(experiment))]
        if not names:
            raise click.ClickException(f"{lake.root} holds nothing of {experiment}; run it, or name another")
    wanted = None if animals is None else {NEUTRAL, *names_in(animals)}
    places = [place for name in names for place in lake.recorded_places(name)]
    if wanted:
        there = {keys_of(place.partition)[0] for place in places if place.partition}
        if unknown := ", ".join(sorted(wanted - there - {NEUTRAL})):
            raise click.ClickException(f"{lake.root} holds nothing of {experiment} for {unknown}; look for a slip")
        places = [place for place in places if not place.partition or keys_of(place.partition)[0] in wanted]
    return places
